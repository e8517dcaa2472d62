"""Several trained models as one: which, with what weights, and their networks in one file."""
