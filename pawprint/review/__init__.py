"""Suspects looked at by a person: a page on this machine, and what is decided there."""
