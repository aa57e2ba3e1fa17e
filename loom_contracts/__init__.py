"""The shared language of Loom: topics, payloads, tables and their JSON Schemas.

Everything here is a declaration. Nothing opens a connection or reads the environment, and nothing but
pydantic is needed to import it.
"""
