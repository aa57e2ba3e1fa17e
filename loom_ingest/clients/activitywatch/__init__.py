"""ActivityWatch's server API, below `/api/0`, as its watchers and its client libraries use it.

The formats are those of aw-server (https://github.com/ActivityWatch/aw-server, `aw_server/rest.py` and `api.py`). What
differs: nothing is ever erased, a repeated event is stored once, and there is no query language.
"""
