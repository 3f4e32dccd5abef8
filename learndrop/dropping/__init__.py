"""When units leave training, and when they come back for a look."""
