"""Texts to error rates: imports nothing else of the bench."""
