"""Where a row came from, and what came of it."""
