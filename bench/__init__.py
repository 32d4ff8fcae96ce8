"""Paced recognition of evaluation speech, its metrics, and the result files that RESULTS.md is made from."""
