"""The parts of the Locust tests. Locust, which patches sockets on import, is imported in `users.py` only."""
