"""How much a unit still moves, and whether it is going anywhere: one class a score."""
