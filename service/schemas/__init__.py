"""What answers look like: the schemas of OpenAPI, a file for each part of the API."""
