"""Spot nodes: the cloud's notice is read on the node itself, which is then drained through Ray.

cloud's metadata server → clouds → watcher → draining → deployment (Ray) → Serve moves what runs there
"""
