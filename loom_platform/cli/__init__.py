"""The `loom` command. Each module is one family of commands; heavy imports are inside the functions."""
