"""Faults in what the spool promises before it acknowledges. Short old texts outlive changes around them."""

from tests.mutants.mutant import Mutant

_COMMITTER = "bridge/spool/committer.py"
_FILES = "bridge/spool/files.py"
_GROUPING = "bridge/spool/grouping.py"
_JOURNAL = "bridge/spool/journal.py"
_LAYOUT = "bridge/spool/layout.py"
_OPENING = "bridge/spool/opening.py"
_PENDING = "bridge/spool/pending.py"
_TAIL = "bridge/spool/tail.py"

_POWER_CUT = "tests/crash/test_power_cut.py"

WRITING = (
    Mutant(
        "directory not synced after the rename",
        _JOURNAL,
        "sync_directory(self._files, self._directory)",
        "pass",
        ["tests/spool/test_journal.py"],
    ),
    Mutant(
        "directory of a new spool not synced",
        _OPENING,
        "sync_directory(files, path.parent)",
        "pass",
        [_POWER_CUT],
    ),
    Mutant(
        "published without a sync",
        _JOURNAL,
        "self._files.fdatasync(fd)",
        "pass",
        ["tests/spool/test_journal.py"],
    ),
    Mutant(
        "published before the sync",
        _JOURNAL,
        "self._files.fdatasync(fd)\n            named = True\n"
        "            self._files.rename(temporary, self._directory / segment.name)",
        "named = True\n            self._files.rename(temporary, self._directory / segment.name)\n"
        "            self._files.fdatasync(fd)",
        [_POWER_CUT],
    ),
    Mutant(
        "added without a sync",
        _JOURNAL,
        "self._files.fdatasync(self._fd)",
        "pass",
        ["tests/spool/test_journal.py"],
    ),
    Mutant(
        "failed sync tried again on its descriptor",
        _JOURNAL,
        "        except OSError:\n            self.abandon()\n            raise",
        "        except OSError:\n            self._files.fdatasync(self._fd)",
        [f"{_POWER_CUT}::test_two_cursors_that_settle_out_of_order_survive_a_power_cut"],
    ),
    Mutant(
        "failed descriptor kept",
        _JOURNAL,
        "        except OSError:\n            self.abandon()\n            raise",
        "        except OSError:\n            raise",
        ["tests/spool/test_journal.py"],
    ),
    Mutant(
        "generation of a failed attempt used again",
        _JOURNAL,
        "            if named:\n                self.abandon()",
        "            self._generation -= 1\n            if named:\n                self.abandon()",
        ["tests/spool/test_journal.py"],
    ),
    Mutant(
        "added behind the back of a successor",
        _JOURNAL,
        "            if named:\n                self.abandon()",
        "            pass",
        ["tests/spool/test_journal.py"],
    ),
    Mutant(
        "one salt for every segment",
        _JOURNAL,
        "salt = random.getrandbits(32)",
        "salt = 7",
        ["tests/spool/test_leftovers.py"],
    ),
    Mutant(
        "segment found at a start added to",
        _COMMITTER,
        "self._retention.doomed = found.superseded",
        "self._retention.doomed = found.superseded\n"
        "        if found.segments:\n"
        "            journal, last = self._journal, found.segments[-1]\n"
        "            journal._fd = journal._files.open(journal._directory / last.name, 2)\n"
        "            journal._segment, journal.position = last, found.tail_size",
        ["tests/spool/test_leftovers.py"],
    ),
    Mutant(
        "reserve of a segment given away",
        _JOURNAL,
        "self._has_room(size + RESERVE)",
        "self._has_room(size)",
        ["tests/spool/test_journal.py"],
    ),
    Mutant(
        "short write taken for a whole one",
        _FILES,
        "while rest:",
        "if rest:",
        ["tests/spool/test_files.py"],
    ),
    Mutant(
        "lag written as 0",
        _LAYOUT,
        "crc32(payload), offset - watermark, seconds",
        "crc32(payload), 0, seconds",
        ["tests/spool/test_layout.py"],
    ),
    Mutant(
        "lag of state and marked records written as 0",
        _LAYOUT,
        "min(offset - self._watermark, _U32_MAX)",
        "0",
        [_POWER_CUT, "tests/spool/test_tail.py"],
    ),
    Mutant(
        "later format touched",
        _TAIL,
        "if header.major > MAJOR:",
        "if header.major > 99:",
        ["tests/spool/test_recovery.py"],
    ),
)

ACKNOWLEDGING = (
    Mutant(
        "acknowledged before it is durable",
        _PENDING,
        "done = asyncio.get_running_loop().create_future()",
        "done = asyncio.get_running_loop().create_future()\n        done.set_result(None)",
        ["tests/spool/test_committer.py"],
    ),
    Mutant(
        "more taken for durable than was written",
        _COMMITTER,
        "self._shelf.advance(group.stop,",
        "self._shelf.advance(self.queue.next,",
        ["tests/spool/test_durable_mark.py"],
    ),
    Mutant(
        "everything durable after a failed sync",
        _COMMITTER,
        "            self._trouble.note(error)\n            return False",
        "            self._trouble.note(error)",
        ["tests/spool/test_committer.py"],
    ),
    Mutant(
        "marks given out before they are durable",
        _GROUPING,
        "        if not pending.item.payloads:",
        "        book.marks.update(pending.marks)\n        if not pending.item.payloads:",
        ["tests/spool/test_committer.py"],
    ),
    Mutant(
        "marks not written with their payloads",
        _LAYOUT,
        "if item.marks is None or not item.payloads:",
        "if True:",
        ["tests/spool/test_layout.py"],
    ),
    Mutant(
        "torn append kept without its marks",
        _TAIL,
        "pack_marks(marks))] if marks else []",
        "pack_marks(marks))]",
        ["tests/spool/test_tail.py"],
    ),
    Mutant(
        "full disk not answered by dropping",
        _COMMITTER,
        "frozenset({errno.ENOSPC, errno.EDQUOT})",
        "frozenset[int]()",
        ["tests/spool/test_committer.py"],
    ),
)

IN_WRITING = (*WRITING, *ACKNOWLEDGING)
