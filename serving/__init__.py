"""A bundle served: by Triton, in `serving.triton`."""
