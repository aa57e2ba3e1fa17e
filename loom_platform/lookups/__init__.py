"""Asking services about cells: which are chosen, what waits, and the work of asking.

Stages ask nobody. They say `pending`, and what is here finds those rows, asks the service about their cells at its
pace, keeps the answers in `lookups`, and wakes the stages for the minutes that have got one.
"""
