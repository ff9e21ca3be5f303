"""Unlabelled inputs: read, preprocessed, checked against the model's signature, divided."""
