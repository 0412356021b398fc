"""What can't be done with a job."""

from __future__ import annotations


class KeyReused(Exception):
    """The idempotency key came before, with another body."""


class TooManyQueued(Exception):
    """The tenant has as many jobs in the queue as it may."""


class UnknownJob(Exception):
    """The tenant has no such job."""


class Fenced(Exception):
    """Another has taken the variation on since, or it was cancelled: nothing that this one made of it is taken."""
