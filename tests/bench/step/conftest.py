"""The toy of the calibration's tests, for INT8's accuracy."""

from tests.calibration.conftest import make_set, model, rewrite, toy  # noqa: F401 -- fixtures
