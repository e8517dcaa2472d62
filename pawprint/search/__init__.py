"""A search for better settings of the head or of fine-tuning, within a budget of time."""
