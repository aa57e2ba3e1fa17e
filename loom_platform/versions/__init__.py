"""Versions of stages: which there are, which one is shown, and how their answers differ."""
