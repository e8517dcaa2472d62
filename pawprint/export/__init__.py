"""Models in the forms of other programs, and whether they still say the same."""
