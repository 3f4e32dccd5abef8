"""One file for each part of the API: thin, no Redis and no torch of their own."""
