"""A bundle served by NVIDIA Triton: its model repositories, what runs in them, and their clients."""
