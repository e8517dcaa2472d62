"""A classifier at work: from the bytes of a picture to probabilities and a heatmap."""
