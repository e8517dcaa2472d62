"""How the CNN from scratch is trained quickly: its form, and its pictures."""
