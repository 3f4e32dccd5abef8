"""Pages and plots of a bench, drawn from the JSON of its runs and from nothing else."""
