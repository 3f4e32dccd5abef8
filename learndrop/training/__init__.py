"""One training step and what it costs: optimizer, rates, arithmetic, the ledger."""
