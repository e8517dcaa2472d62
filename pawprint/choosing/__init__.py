"""Choosing between settings of a head: folds, heads side by side, their scores."""
