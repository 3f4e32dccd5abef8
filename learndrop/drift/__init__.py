"""When the stream has changed, what about it has, and networks kept beside for that."""
