"""The form in which the CNN from scratch is trained quickly."""
