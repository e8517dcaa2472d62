"""Where the pictures come from, and how they are told apart: one canonical archive."""
