"""What a speaker waits for, measured on speech."""
