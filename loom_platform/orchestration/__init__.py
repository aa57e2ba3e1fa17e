"""Dagster's side of Loom: assets, sensors, checks, datasets, maintenance. The only package that imports dagster."""
