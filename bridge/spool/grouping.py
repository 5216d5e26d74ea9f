"""What is made durable together: appends that wait, and what there is to say of cursors. No I/O."""

from collections.abc import Sequence

from bridge.ports import Offset
from bridge.spool.book import Book, Token
from bridge.spool.journal import Group
from bridge.spool.layout import RECORD_SIZE
from bridge.spool.pending import Pending


def group_of(taken: Sequence[Pending], book: Book, durable: Offset, *, snapshot: bool) -> tuple[Group, Token]:
    """The group of these appends, and the token that tells the book once it is durable.

    A state record goes with it when there is something to say; with ``snapshot`` it says everything.
    """
    state: bytes | None = None
    token: Token = ()
    marks: dict[str, int] = {}
    for pending in taken:
        if not pending.item.payloads:
            marks.update(pending.marks)
    if snapshot or marks or book.dirty:
        state, token = book.snapshot(marks) if snapshot else book.changes(marks)
    items = [pending.item for pending in taken if pending.item.payloads]
    stop = max(durable, items[-1].first + len(items[-1].payloads)) if items else durable
    size = sum(pending.size for pending in taken) + 2 * RECORD_SIZE * (len(items) + 1)
    return Group(durable, stop, state, items, size + (len(state) if state is not None else 0)), token
