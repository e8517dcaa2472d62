"""What the command line and the server say alike of a model and its pictures."""
