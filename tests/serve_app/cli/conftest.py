"""A node's metadata server and raylet, as the tests of the watch have them."""

from tests.serve_app.spot.conftest import server, start_raylet

# Fixtures, which pytest finds here.
__all__ = ["server", "start_raylet"]
