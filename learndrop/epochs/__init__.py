"""Training in epochs on a fixed set by the same learner: `Learner.fit`, as in the paper."""
