"""Scores, and their tables, texts and pictures."""
