"""What a file says of the picture in it, and what that asks of a decoder."""
