"""A platform into a directory and back: databases, large bodies, offsets, what Kafka and the spool still hold."""
