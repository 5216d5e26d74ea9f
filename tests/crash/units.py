"""Operations broken into the smallest things that reach the medium by themselves, and what forces them.

Such a unit is the bytes of one block of one file, the length of a file after a write or a resize, or one
change of one directory entry. At the instant of the cut a unit is *forced* when a sync that began after the
unit was done has itself returned without error; any other unit that has begun is *optional*. A sync that
failed forces nothing, and what it covered can never be forced by a later one, because the kernel marks the
pages clean.

Rules ``posix``: nothing more, so a legal state has all forced units with any subset of the optional ones.

Rules ``ext4`` (data=ordered): changes of directories reach the journal in their order, and any sync commits
the earlier ones; a file grows in order and never shows bytes that were not written; a rename onto an existing
name waits for the data. A unit there *needs* others; a legal state has none without what it needs.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Literal

from tests.crash.trace import Operation, Trace

Rules = Literal["posix", "ext4"]

NEVER = 1 << 62


@dataclass(slots=True)
class Unit:
    """One thing that reaches the medium by itself.

    Attributes:
        node: the file, or the directory of an entry.
        forced: behind this position the unit is on the medium for certain.
        partner: of a length, the bytes that it came with.
        needs: units without which this one cannot be there.
    """

    number: int
    operation: int
    kind: Literal["data", "grow", "resize", "entry"]
    node: int
    begun: int
    done: int
    position: int = 0
    data: bytes = b""
    size: int = 0
    forced: int = NEVER
    poisoned: bool = False
    partner: int = -1
    needs: list[int] = field(default_factory=list)


class Breaker:
    """Breaks the operations of a trace into :attr:`units`.

    Args:
        block: how many bytes reach the medium together.
    """

    def __init__(self, trace: Trace, rules: Rules, block: int) -> None:
        self._ext4 = rules == "ext4"
        self._block = block
        self._sizes = {node: len(content) for node, content in trace.contents.items()}
        self._open: dict[int, list[Unit]] = defaultdict(list)
        self._entries: list[Unit] = []
        self._of_file: dict[int, list[Unit]] = defaultdict(list)
        self._last_entry: Unit | None = None
        self._last_length: dict[int, Unit] = {}
        self.units: list[Unit] = []
        for index, operation in enumerate(trace.operations):
            self._break(index, operation)
        for unit in reversed(self.units):
            # What something certain needs is certain, too.
            for needed in unit.needs if unit.forced < NEVER else ():
                self.units[needed].forced = min(self.units[needed].forced, unit.forced)

    def _break(self, index: int, operation: Operation) -> None:
        if operation.kind == "write":
            self._break_write(index, operation)
        elif operation.kind == "resize":
            unit = self._add(index, operation, Unit(0, 0, "resize", operation.node, 0, 0, size=operation.size))
            self._sizes[operation.node] = operation.size
            self._in_order_of_length(unit)
        elif operation.kind == "sync":
            self._sync(operation)
        else:
            self._entry(index, operation)

    def _break_write(self, index: int, operation: Operation) -> None:
        node, start, end = operation.node, operation.position, operation.position + len(operation.data)
        position = start
        while position < end:
            stop = min(end, (position // self._block + 1) * self._block)
            piece = operation.data[position - start : stop - start]
            data = self._add(index, operation, Unit(0, 0, "data", node, 0, 0, position=position, data=piece))
            if stop > self._sizes.get(node, 0):
                grow = self._add(index, operation, Unit(0, 0, "grow", node, 0, 0, size=stop, partner=data.number))
                self._sizes[node] = stop
                if self._ext4:
                    grow.needs.append(data.number)
                self._in_order_of_length(grow)
            position = stop

    def _in_order_of_length(self, unit: Unit) -> None:
        if self._ext4:
            before = self._last_length.get(unit.node)
            if before is not None:
                unit.needs.append(before.number)
            self._last_length[unit.node] = unit

    def _entry(self, index: int, operation: Operation) -> None:
        unit = self._add(index, operation, Unit(0, 0, "entry", operation.folder, 0, 0))
        if not self._ext4:
            return
        if self._last_entry is not None:
            unit.needs.append(self._last_entry.number)
        self._last_entry = unit
        self._entries.append(unit)
        if operation.kind == "rename" and operation.replaced:
            unit.needs += [other.number for other in self._of_file[operation.node]]

    def _sync(self, operation: Operation) -> None:
        waiting = self._open[operation.node]
        for unit in waiting:
            if operation.failed:
                unit.poisoned = unit.poisoned or unit.begun < operation.done
            elif unit.done <= operation.begun and not unit.poisoned:
                unit.forced = min(unit.forced, operation.done)
        self._open[operation.node] = [unit for unit in waiting if unit.forced == NEVER]
        if self._ext4 and not operation.failed:
            for unit in self._entries:
                if unit.done <= operation.begun:
                    unit.forced = min(unit.forced, operation.done)
            self._entries = [unit for unit in self._entries if unit.forced == NEVER]

    def _add(self, index: int, operation: Operation, unit: Unit) -> Unit:
        unit.number, unit.operation = len(self.units), index
        unit.begun, unit.done = operation.begun, operation.done
        self.units.append(unit)
        self._open[unit.node].append(unit)
        if unit.kind != "entry":
            self._of_file[unit.node].append(unit)
        return unit
