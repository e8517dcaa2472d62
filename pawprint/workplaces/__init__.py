"""Places in which DVC runs experiments, beside the user's files."""
