"""Commands of `learndrop` beside those of cli.py: keys, labels, dead letters, predict, the past."""
