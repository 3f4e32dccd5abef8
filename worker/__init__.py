"""The process that learns: its loop, its metrics, and what stands by to take over."""
