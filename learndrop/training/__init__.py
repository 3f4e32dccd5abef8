"""One training step: optimizer, rates, arithmetic, what guards it and what it costs."""
