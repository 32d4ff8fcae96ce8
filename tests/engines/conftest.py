"""The fake GPU and the toy bundle of tests/runtime, for what the inspector measures."""

from tests.runtime.conftest import folder, rig

__all__ = ["folder", "rig"]
