"""Keras networks: how they are built, kept in files, and started."""
