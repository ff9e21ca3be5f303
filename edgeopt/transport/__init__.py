"""Ways to a device: one small protocol, one file per way."""
