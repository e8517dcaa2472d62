"""What every stage stands on: its parameters, its errors, its files and its processes."""
