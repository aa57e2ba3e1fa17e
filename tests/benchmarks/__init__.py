"""`make bench`: each promise of the issues, measured side by side in one run and kept as JSON."""
