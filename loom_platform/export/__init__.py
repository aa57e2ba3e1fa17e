"""A person's data as files that stand on their own, and back again: Parquet, bodies, a manifest, a README."""
