"""The demo: the whole service on one machine, fed over HTTP, watched live, judged at the end.

`python -m deploy.demo --help` says what it takes.
"""
