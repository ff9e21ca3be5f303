"""Frozen records: what a thing is, never how it is done. See docs/architecture.md for the vocabulary."""
