"""Keeps a copy of damaged bytes for whoever wants to look, in bounded space. Blocking; for reader threads."""

import logging
import os
from contextlib import suppress
from pathlib import Path

from bridge.spool.files import Files, write_all

log = logging.getLogger(__name__)

MAX_FILES = 64
MAX_BYTES = 4 * 1024 * 1024
MAX_RANGE = 64 * 1024
"""Of one damaged stretch only that much is kept."""


class Quarantine:
    """The ``quarantine`` folder of a log: what was damaged, as it was found. Best effort; never raises.

    Args:
        directory: the folder; made when the first copy is kept.
    """

    def __init__(self, files: Files, directory: Path) -> None:
        self._files = files
        self._directory = directory

    def keep(self, segment_name: str, start: int, data: bytes) -> None:
        """Keeps ``data``, found at position ``start`` of a segment, unless the folder is full or has it."""
        name = f"{segment_name.removesuffix('.seg')}-{start:010d}.bin"
        try:
            with suppress(FileExistsError):
                self._files.mkdir(self._directory)
            kept = self._files.listdir(self._directory)
            full = len(kept) >= MAX_FILES or sum(entry.size for entry in kept) + len(data) > MAX_BYTES
            if full or any(entry.name == name for entry in kept):
                return
            fd = self._files.open(self._directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                write_all(self._files, fd, data[:MAX_RANGE], 0)
            finally:
                self._files.close(fd)
        except OSError as error:
            log.debug("no copy of damaged bytes in %s: %s", self._directory, error.strerror)
