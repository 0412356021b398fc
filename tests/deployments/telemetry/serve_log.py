"""The log of a Serve replica, in its own files, filters and formats, without a Serve."""

from __future__ import annotations

import json
import logging
import logging.handlers
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.serve._private.common import ServeComponentType
from ray.serve._private.constants import SERVE_LOGGER_NAME
from ray.serve._private.logging_utils import configure_component_logger
from ray.serve.schema import LoggingConfig

LOG = logging.getLogger(f"{SERVE_LOGGER_NAME}.tests")


class ServeLog:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._at = 0

    def new(self) -> str:
        """What was written since the last call."""
        with self._file.open(encoding="utf-8", newline="") as file:
            file.seek(self._at)
            text = file.read()
            self._at = file.tell()
        return text

    def line(self) -> dict[str, Any]:
        """The same of a log in JSON to which one line was written, by everybody's count of lines."""
        (line,) = self.new().splitlines()
        fields: dict[str, Any] = json.loads(line, parse_constant=_refuse)
        return fields


@contextmanager
def serve_log(folder: Path, encoding: str) -> Iterator[ServeLog]:
    """encoding: JSON | TEXT, as a deploy file's `logging_config` has it."""
    logger = logging.getLogger(SERVE_LOGGER_NAME)
    before = logger.handlers[:], logger.level, logger.propagate
    configure_component_logger(
        component_name="musicgen_ingress",
        component_id="ab12",
        logging_config=LoggingConfig(encoding=encoding, logs_dir=str(folder), enable_access_log=False),
        component_type=ServeComponentType.REPLICA,
        max_bytes=0,
        backup_count=0,
    )
    try:
        (file,) = folder.glob("*.log")
        yield ServeLog(file)
    finally:
        for handler in logger.handlers:
            if isinstance(handler, logging.handlers.MemoryHandler) and handler.target is not None:
                handler.target.close()
            handler.close()
        logger.handlers[:], logger.level, logger.propagate = before


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
