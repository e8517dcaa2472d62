"""One picture's file: what it is, what it would cost, and its pixels."""
