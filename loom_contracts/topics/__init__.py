"""Every topic as an object; `registry.TOPICS` lists them all."""
