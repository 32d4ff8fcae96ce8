"""From calibration speech and a bundle's FP32 step to the thresholds of INT8 activations. Imports neither torch nor NeMo."""
