"""What the machine does in one step, measured without speech."""
