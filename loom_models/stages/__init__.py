"""The enrichments, one module each."""
