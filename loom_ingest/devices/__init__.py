"""The devices that send: their register in PostgreSQL, and what was seen of each."""
