"""The groups of the `learndrop` command."""
