"""What is done to samples on request: dead letters, deletions, repeated changes, their audit."""
