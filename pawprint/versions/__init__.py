"""The last version of a stage's own outputs, and the rows of it that need not be made again."""
