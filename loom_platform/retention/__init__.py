"""How long things are kept, and what removes them: rows, bodies, roll-ups, Kafka's records, Dagster's events.

`rules` says how long, `holds` why a day stays all the same, `days` drops what is left, `kafka` keeps the broker equal,
`keeping` does all of it once. docs/how-to/retention.md tells the rest.
"""
