"""Benchmarks: what Pawprint costs, measured against plain ways of doing the same."""
