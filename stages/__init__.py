"""One script a stage: what it reads, what it calls, what it writes."""
