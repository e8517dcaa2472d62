"""The model behind HTTP: an API, a page, limits, batching and monitoring."""
