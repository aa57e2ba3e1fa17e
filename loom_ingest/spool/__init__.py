"""The durable disk spool: takes records while the broker is away and gives them to it when it is back (ADR 7)."""
