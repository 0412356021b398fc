"""Checkpoints: find, download, verify, read. Start at `checkpoint.py`."""
