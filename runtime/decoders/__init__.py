"""What turns a step's frames into text."""
