"""The simulator: a person's day, made deterministically, and sent over the public HTTP API only."""
