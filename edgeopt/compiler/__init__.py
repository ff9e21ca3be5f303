"""From a model to variants: plan (pure), build (one confined child process per variant), compare.

A model is untrusted input. Nothing of it is parsed in the caller's process: every look at a graph happens in a child of
`confine`, which has limits of time, memory, file size and files, no network where the kernel allows, and cannot outlive its parent.
"""
