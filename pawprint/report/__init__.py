"""A run as one page and as a model card: what went in, what came out, what to do next."""
