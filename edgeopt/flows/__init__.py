"""Straight-line use cases: the only place where concerns meet."""
