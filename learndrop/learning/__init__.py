"""The learner: test, notice, train, drop, bring back; its checkpoints; the same in epochs."""
