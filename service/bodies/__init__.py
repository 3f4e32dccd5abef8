"""What a request body holds, whatever its content type."""
