"""What is in a data set: sizes, formats, damaged files, duplicates."""
