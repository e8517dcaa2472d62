"""How a stage runs: its parameters, its errors, its processes, and going on after a stop."""
