"""How a log comes to life: its directory, what an earlier run left in it, and what writes to it from now on."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from bridge.errors import SpoolUnusable
from bridge.spool.committer import Committer
from bridge.spool.files import Files, sync_directory
from bridge.spool.journal import NEXT, Journal
from bridge.spool.layout import parse_name
from bridge.spool.parts import Parts
from bridge.spool.pending import Queue
from bridge.spool.recovery import Recovered, recover
from bridge.spool.room import Room

_REFUSALS = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EIO})


def find(files: Files, directory: Path) -> tuple[Recovered, OSError | None]:
    """What an earlier run left in a log's directory, which is made if it is not there. Blocking.

    Returns:
        it, and why the directory could not be made sure of, if that is so.

    Raises:
        SpoolTooNew: a later major version wrote it.
        SpoolUnusable: the directory can neither be made nor read.
    """
    trouble = make_directory(files, directory)
    try:
        found = recover(files, directory)
    except OSError as error:
        raise SpoolUnusable(f"{directory} cannot be read: {error.strerror}") from error
    # A name seen now may still be in memory only, and everything to come rests on it.
    with suppress(OSError):
        sync_directory(files, directory)
    return found, trouble


def make_directory(files: Files, path: Path) -> OSError | None:
    """Makes a directory whose parent exists, durably; returns why it could not be made sure of. Blocking.

    Raises:
        SpoolUnusable: it is not there and cannot be made.
    """
    trouble: OSError | None = None
    try:
        files.mkdir(path)
    except FileExistsError:
        pass
    except OSError as error:
        trouble = error
    try:
        files.close(files.open(path, os.O_RDONLY | os.O_DIRECTORY))
    except OSError as error:
        why = (trouble or error).strerror
        raise SpoolUnusable(f"{path} cannot be used for the spool: {why}") from error
    # A run that died between making it and this sync left it to us: so always.
    with suppress(OSError):
        sync_directory(files, path.parent)
    return trouble if trouble is not None and trouble.errno in _REFUSALS else None


def new_writer(parts: Parts, found: Recovered) -> Committer:
    """What makes a log durable that begins with what was found; nothing is started."""
    journal = Journal(
        parts.files,
        parts.directory,
        parts.clock,
        segment_bytes=parts.limits.segment_bytes,
        generation=found.generation,
        offset=found.next,
    )
    queue = Queue(str(parts.directory), found.next)
    return Committer(parts, room=Room(parts, journal), journal=journal, queue=queue)


def remove_log(files: Files, directory: Path) -> None:
    """Deletes what a log keeps in its directory, the oldest first, and the directory if nothing else is in it.

    Cut short, it leaves a log whose newest part is whole: its cursors stand there. Blocking.

    Raises:
        OSError: as the system says.
    """
    quarantine = directory / "quarantine"
    with suppress(FileNotFoundError, NotADirectoryError):
        for entry in files.listdir(quarantine):
            files.unlink(quarantine / entry.name)
        files.rmdir(quarantine)
    for name in sorted(entry.name for entry in files.listdir(directory)):
        if name == NEXT or parse_name(name, 0) is not None:
            files.unlink(directory / name)
    with suppress(OSError):
        files.rmdir(directory)
    sync_directory(files, directory.parent)
