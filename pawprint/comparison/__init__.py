"""Revisions of the project side by side: what differs, by how much, and on which pictures."""
