"""One file for each part of the API: thin, no Redis and no torch of their own.

A new one has its answers in schemas/, what it works with as a field of `Parts` (parts.py; made in
app.py, where its router is named too), its series in metrics.py, and what it may refuse as an error
of learndrop/errors.py with its kind in problems.py. README.md, docs/operations.md and
docs/refusals.md tell of each; tests hold them to that.
"""
