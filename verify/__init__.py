"""Runs the pipeline a second time, elsewhere and otherwise, and compares every hash."""
