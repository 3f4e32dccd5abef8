"""The Redis server: what it must be, how to reach it, where things lie, who leads, what is told."""
