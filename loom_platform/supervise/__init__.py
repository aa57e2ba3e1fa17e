"""`loom up` without its face: which services there are, where they listen, and supervisord, which keeps them.

endpoints     ports and URLs, chosen once and remembered
services      what is started, how, and what it needs first
probes        when a service counts as ready
dagster_home  dagster.yaml and workspace.yaml of the running platform
config        supervisord's configuration
control       supervisord itself: start it, ask it, stop it
instance      the processes of this installation, found by a mark in their environment
platform      up
stopping      down
status        what runs
doctor        what this machine lacks
"""
