"""The toy bundle of tests/calibration, for what is observed and quantised."""

from tests.calibration.conftest import model, toy

__all__ = ["model", "toy"]
