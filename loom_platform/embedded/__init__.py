"""The servers of the one-command platform: PostgreSQL with pgvector, and Kafka, from files of the environment.

Each server is a frozen description with `prepare()` (make its files), `launch` (how to start it) and
`wait_ready()`. Who keeps it running is not decided here: supervisord does in `loom up`, the suite does in tests.
"""
