"""What tells two files of the same sound apart: the name under which a file's bytes are kept."""

from __future__ import annotations

from serve_app.audio.containers import ContainerFormat

# A stream of the others lacks what only its end would tell (see `serve_app.audio.streams`).
_SAME_STREAMED = frozenset({"wav", "pcm"})


def container_key(container: ContainerFormat, *, streamed: bool = False) -> str:
    """The container's name, and for a streamed file whose bytes are not those of the whole one, a name of its own."""
    return f"{container.name} stream" if streamed and container.name not in _SAME_STREAMED else container.name
