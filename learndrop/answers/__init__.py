"""Answers that were given and the labels that come for them later."""
