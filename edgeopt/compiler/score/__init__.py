"""Scores without labels, one module per kind of task. Pure numpy: answers in, figures out.

The original is the *teacher*: everything here says how far a variant's answers are from its answers, on samples that calibration never saw.
"""
