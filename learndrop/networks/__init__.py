"""A network by its name, cut into an ordered chain of units."""
