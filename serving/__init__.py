"""A bundle served: over WebSocket by `serving.web`, behind Triton by `serving.triton`."""
