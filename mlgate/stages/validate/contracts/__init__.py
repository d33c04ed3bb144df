"""Schema contracts: what they say, what breaks them, who is hurt."""
