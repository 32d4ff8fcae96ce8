"""From a bundle's step to a TensorRT plan, its stamp and what really runs in it. Imports neither torch nor NeMo."""
