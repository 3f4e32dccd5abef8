"""The process that learns."""
