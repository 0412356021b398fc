"""The language model's replicas, as processes of this machine."""

from __future__ import annotations

import psutil

from loadtests.measuring.running import APPLICATION, MODEL

_TITLE = f"ray::ServeReplica:{APPLICATION}:{MODEL}-language-model"


def language_models() -> list[psutil.Process]:
    """Those that this process has started, itself or through others; the oldest first."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            title, started_s = " ".join(process.cmdline()), process.create_time()
        except psutil.NoSuchProcess:
            continue  # gone in between
        if title.startswith(_TITLE):
            found.append((started_s, process.pid, process))
    return [process for _, _, process in sorted(found)]
