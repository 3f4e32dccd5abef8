"""The Redis server: how it is reached, where things lie, who leads, what it must be."""
