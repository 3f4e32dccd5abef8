"""What is learned again: recent samples, how many, and those that versions are measured on."""
