"""Faults in what the spool promises to keep, to count and to find again."""

from tests.mutants.mutant import Mutant

_BOOK = "bridge/spool/book.py"
_COMMITTER = "bridge/spool/committer.py"
_FILES = "bridge/spool/files.py"
_LAYOUT = "bridge/spool/layout.py"
_OWNERSHIP = "bridge/spool/ownership.py"
_READING = "bridge/spool/reading.py"
_RECOVERY = "bridge/spool/recovery.py"
_RETENTION = "bridge/spool/retention.py"
_SHELF = "bridge/spool/shelf.py"
_STRETCHES = "bridge/spool/stretches.py"
_TAIL = "bridge/spool/tail.py"

_POWER_CUT = "tests/crash/test_power_cut.py"

KEEPING = (
    Mutant(
        "deleted before the cursors beyond it are durable",
        _BOOK,
        "ledger.durable_low if durably else ledger.low",
        "ledger.low",
        ["tests/spool/test_retention.py"],
    ),
    Mutant(
        "dropped segment deleted before that is durable",
        _COMMITTER,
        "group, token = self._group(taken, snapshot=True)",
        "await self._room.delete_doomed()\n        group, token = self._group(taken, snapshot=True)",
        [_POWER_CUT],
    ),
    Mutant(
        "cursor taken for durable beyond what was written",
        _BOOK,
        "ledger.durable_low = max(ledger.durable_low, low)",
        "ledger.durable_low = ledger.low",
        ["tests/spool/test_book.py"],
    ),
    Mutant(
        "cursor goes back",
        _TAIL,
        "state.low >= known.low",
        "True",
        ["tests/spool/test_tail.py"],
    ),
    Mutant(
        "settled what was never read",
        _STRETCHES,
        "min(stop, self.served)",
        "stop",
        ["tests/spool/test_stretches.py", "tests/spool/test_cursor.py"],
    ),
    Mutant(
        "dropped without a count",
        _RETENTION,
        "self.losses[why] += count",
        "self.losses[why] += 0",
        ["tests/spool/test_retention.py"],
    ),
    Mutant(
        "dropped without a count for the cursor",
        _BOOK,
        "ledger.skipped += taken",
        "ledger.skipped += 0",
        ["tests/spool/test_book.py"],
    ),
    Mutant(
        "dropped without a line",
        _RETENTION,
        'log.error("%s: %d of the oldest',
        'log.debug("%s: %d of the oldest',
        ["tests/spool/test_retention.py"],
    ),
    Mutant(
        "max_bytes not kept",
        _RETENTION,
        "> self._limits.max_bytes:",
        "> 2 * self._limits.max_bytes:",
        ["tests/spool/test_retention.py"],
    ),
    Mutant(
        "sent again although settled in between",
        _BOOK,
        "tuple(self._ranges[:MAX_WRITTEN_RANGES])",
        "()",
        ["tests/spool/test_spool.py"],
    ),
    Mutant(
        "orphans not named",
        _BOOK,
        "if name not in self.owners)",
        "if not self.owners)",
        ["tests/spool/test_spool.py"],
    ),
)

STARTING = (
    Mutant(
        "unproven records not written again",
        _COMMITTER,
        "self.queue.add_again(found.rewrite)",
        "pass",
        ["tests/spool/test_log.py"],
    ),
    Mutant(
        "unproven records believed without writing",
        _COMMITTER,
        "self.queue.add_again(found.rewrite)",
        "self._shelf.durable = found.next",
        ["tests/spool/test_leftovers.py"],
    ),
    Mutant(
        "payload unchecked",
        _LAYOUT,
        "good = stop <= len(buffer) and crc32(payload) == payload_crc",
        "good = stop <= len(buffer)",
        ["tests/spool/test_recovery.py"],
    ),
    Mutant(
        "record after damage unchecked",
        _LAYOUT,
        "if crc32(buffer[start + 4 : start + RECORD_SIZE], salt) == crc:",
        "if crc >= 0:",
        ["tests/spool/test_layout.py", "tests/spool/test_tail.py"],
    ),
    Mutant(
        "record header unchecked",
        _LAYOUT,
        "magic != _MAGIC or crc32(buffer[at + 4 : at + size], salt) != crc",
        "magic != _MAGIC",
        ["tests/spool/test_layout.py"],
    ),
    Mutant(
        "segment header unchecked",
        _LAYOUT,
        "magic != _HEADER_MAGIC or crc32(raw[12:HEADER_SIZE], salt) != crc",
        "magic != _HEADER_MAGIC",
        ["tests/spool/test_layout.py"],
    ),
    Mutant(
        "torn tail counted as damage",
        _TAIL,
        "max(self.proven, found.offset - found.lag)",
        "max(self.proven, found.offset)",
        ["tests/spool/test_tail.py"],
    ),
    Mutant(
        "damage not counted",
        _SHELF,
        "self.damaged += lost",
        "self.damaged += 0",
        ["tests/spool/test_shelf.py"],
    ),
    Mutant(
        "damage not seen",
        _READING,
        'chunk.damage.append(Damage(first, stop, start, data.rstrip(b"\\0")))',
        "pass",
        ["tests/spool/test_reading.py"],
    ),
    Mutant(
        "deleted segment believed when it comes back",
        _RECOVERY,
        "found.segments[1].first <= found.start",
        "found.segments[1].first < 0",
        ["tests/spool/test_recovery.py"],
    ),
    Mutant(
        "empty successor believed",
        _RECOVERY,
        "if not _is_real(files, directory, segment):",
        "if not segment:",
        ["tests/spool/test_recovery.py"],
    ),
    Mutant(
        "cursors lost with a damaged snapshot",
        _RECOVERY,
        "older[:_STATE_SEARCH]",
        "older[:0]",
        ["tests/spool/test_recovery.py"],
    ),
    Mutant(
        "start refused by a read-only directory",
        _OWNERSHIP,
        "not in {errno.EROFS, ",
        "not in {",
        ["tests/disk/test_full_and_read_only.py::test_a_disk_in_memory"],
    ),
    Mutant(
        "clock before 1970 not taken",
        _LAYOUT,
        "self.wall_ns & _U64_MAX",
        "self.wall_ns",
        ["tests/spool/test_clock_jumps.py"],
    ),
    Mutant(
        "lock not taken",
        _FILES,
        "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        ["tests/spool/test_spool.py"],
    ),
    Mutant(
        "lock not asked for",
        _OWNERSHIP,
        "if not self._files.flock(self._lock):",
        "if self._lock < 0:",
        ["tests/spool/test_spool.py"],
    ),
    Mutant(
        "lock inherited by children",
        _FILES,
        "return os.open(path, flags | os.O_CLOEXEC, _FILE_MODE)",
        "fd = os.open(path, flags, _FILE_MODE)\n        os.set_inheritable(fd, True)\n        return fd",
        ["tests/disk/test_one_owner.py"],
    ),
)

IN_KEEPING = (*KEEPING, *STARTING)
