"""The parts of `bench_hits`: a client that costs little, an empty endpoint behind Serve, and a bare server."""
