"""Studies as files: rows of settings, each run as DVC experiments, compared in one table."""
