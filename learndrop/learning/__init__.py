"""The learner: test, notice, train, drop, bring back; its versions and its checkpoints."""
