"""What each topic carries, one module for each kind of thing that is known."""
