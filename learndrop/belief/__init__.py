"""Whom to believe, and the samples beyond doubt that tell whether weights have got worse."""
