"""When the stream has changed, and what about it has."""
