"""Stages, the models they use, and the flows they form.

A stage is a pure function from a frame to frames. Nothing here imports dagster, opens a database or a
broker, or reads the environment; what a stage needs from the world comes to it in its Context.
"""
