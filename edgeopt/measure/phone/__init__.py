"""A phone has no Python: what the agent does on a board, this computer does on a phone through its shell, a few fixed scripts at a time."""
