"""How often properties are tried: often enough for the rules of music, seldom enough for two cores."""

from __future__ import annotations

from hypothesis import settings

# No deadline: the machine may be busy.
tried = settings(deadline=None, max_examples=40)
