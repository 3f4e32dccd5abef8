"""Answers by the newest model version, and whether they become less sure."""
