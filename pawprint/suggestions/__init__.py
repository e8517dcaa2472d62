"""Unlabelled pictures: which of them are worth a label."""
