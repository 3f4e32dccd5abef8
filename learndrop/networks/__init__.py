"""A network by its name: first weights, head, and the cut into an ordered chain of units."""
