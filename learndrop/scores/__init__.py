"""How much a unit still moves, and whether it is going anywhere: one class a score.

A new one is a class with the methods of `Scorer` in a file of its own; its name goes into
catalogue.py and the setting `score` (settings/dropping.py), its class into bench/rank.py, which
compares them.
"""
