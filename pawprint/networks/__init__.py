"""Keras networks: how they are built, kept in files, started, and run forward."""
