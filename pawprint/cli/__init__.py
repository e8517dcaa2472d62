"""What is read by commands: ``python -m pawprint COMMAND``."""
