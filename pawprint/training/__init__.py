"""What the three trainings share."""
