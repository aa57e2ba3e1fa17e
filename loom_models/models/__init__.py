"""Model backends: each module is the only one to import its library, and loads once per process, under a lock."""
