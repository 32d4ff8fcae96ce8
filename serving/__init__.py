"""A bundle served by Triton: the model repository and a client."""
