"""What is learned again: the recent samples, and how many of them with each batch."""
