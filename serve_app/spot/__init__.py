"""Nodes that the cloud takes back: its notice is read on the node itself, which is then drained through Ray.

cloud's metadata server → aws, gcp → watcher → draining → deployment (Ray) → Serve moves what runs there
"""
