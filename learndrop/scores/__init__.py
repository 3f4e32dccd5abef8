"""How much a unit still moves, and whether it is going anywhere: one class a score.

A new one is a class with the methods of `Scorer` in a file of its own, and a row in catalogue.py.
Tests ask for its name in the setting `score` (settings/dropping.py), which is read without torch,
and for its words on the page that compares scores (bench/pages/rank_table.py).
"""
