"""Pictures as arrays: listed, divided, decoded, changed, and read in batches."""
