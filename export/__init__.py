"""Checkpoint to bundle: the streaming step as ONNX, proven against NeMo."""
