"""Benchmarks, each comparing side by side in one run and ending with one line of JSON. LOG.md keeps the figures."""
