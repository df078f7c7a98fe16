"""Measures: what a device is, who can run a layer on it, who is right, and how long each takes.

Importing this package touches no GPU, disk, clock or log, and imports no torch.
"""
