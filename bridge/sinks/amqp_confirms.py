"""Which events of a batch an AMQP broker has confirmed: accounting by ranges of delivery tags, no task each.

In confirm mode the broker answers every message with ``basic.ack`` or ``basic.nack``, one by one or for all
up to a tag (``multiple``), in any order; a mandatory message without a queue comes back with ``basic.return``
*before* its ack. Sans-IO: whoever reads the connection feeds it.
"""

from collections.abc import Sequence

_OPEN, _ACKED, _NACKED = 0, 1, 2


class Confirms:
    """The confirms of one batch.

    Args:
        last_tag: the delivery tag used last on the channel; the first message sent gets the next.
    """

    def __init__(self, last_tag: int) -> None:
        self._first_tag = last_tag + 1
        self._indices: list[int] = []
        self._states = bytearray()
        self._low = 0
        self._returned: set[int] = set()
        self.outstanding = 0
        """Messages sent and not yet answered."""

    @property
    def answered(self) -> int:
        """Messages acked or nacked; it only grows, so it shows progress."""
        return len(self._states) - self.outstanding

    @property
    def last_tag(self) -> int:
        """The delivery tag of the message sent last."""
        return self._first_tag + len(self._states) - 1

    def sent(self, indices: Sequence[int]) -> None:
        """These events of the batch were sent, one message each, in this order."""
        self._indices += indices
        self._states += bytes(len(indices))
        self.outstanding += len(indices)

    def answer(self, tag: int, *, multiple: bool, acked: bool) -> None:
        """The broker answered for a tag, or with ``multiple`` for all up to it (tag 0: for all).

        Tags of other batches, and a second answer to the same tag, change nothing.
        """
        state = _ACKED if acked else _NACKED
        if multiple:
            end = len(self._states) if tag == 0 else min(tag - self._first_tag + 1, len(self._states))
            for position in range(self._low, end):
                self._settle(position, state)
        elif 0 <= tag - self._first_tag < len(self._states):
            self._settle(tag - self._first_tag, state)
        while self._low < len(self._states) and self._states[self._low] != _OPEN:
            self._low += 1

    def came_back(self, indices: Sequence[int]) -> None:
        """The broker found no queue for these events; an ack that follows does not count for them."""
        self._returned.update(indices)

    def open(self) -> list[int]:
        """Events sent and not yet answered."""
        return self._in(_OPEN)

    def confirmed(self) -> list[int]:
        """Events that are the broker's from now on."""
        return [index for index in self._in(_ACKED) if index not in self._returned]

    def returned(self) -> list[int]:
        """Events that reached no queue."""
        return sorted(self._returned)

    def refused(self) -> list[int]:
        """Events that the broker nacked."""
        return self._in(_NACKED)

    def _settle(self, position: int, state: int) -> None:
        if self._states[position] == _OPEN:
            self._states[position] = state
            self.outstanding -= 1

    def _in(self, state: int) -> list[int]:
        return [index for index, now in zip(self._indices, self._states, strict=True) if now == state]
