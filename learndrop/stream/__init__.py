"""The stream of labelled samples: what an entry means, how it gets on, is taken and ends."""
