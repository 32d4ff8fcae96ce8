"""From calibration speech and a bundle's widest step to the thresholds of INT8 activations. Imports neither torch nor NeMo."""
