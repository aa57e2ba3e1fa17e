"""Clients that people have already: each module reads one client's own format and answers as that client expects."""
