"""Networks run forward, on the fastest engine that there is."""
