"""Plays a stream through rival strategies and reports accuracy, FLOPs, seconds and memory."""
