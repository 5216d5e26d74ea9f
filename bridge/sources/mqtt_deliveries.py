"""Recognises what a broker delivers again although it is stored already.

A PUBLISH whose PUBACK did not reach the broker comes again on the next connection, marked DUP, with the same
packet identifier and in the old order (MQTT 5.0 §4.4, §4.6; 3.1.1 the same). Until the broker has the PUBACK
it must not give the identifier to another message (§2.2.1). So for a message marked DUP whose identifier and
content are those of a delivery that was stored:

- If we never sent the PUBACK of that delivery, it is that delivery: proven.
- If we did, the broker may have had it, given the identifier away again, and lost the new message on the way.
  That needs a broker that gives identifiers away again soon, and a new message of the same topic and bytes.
  Most brokers count through all 65,535 identifiers first. One that does not is found out: within the few
  thousand deliveries remembered here an identifier comes twice. From then on only the proven case counts,
  since a reading stored twice is better than one not stored.

Nothing is recognised when the broker has no session of ours: then it delivers nothing again.
"""

from collections.abc import Iterable

from bridge.ports import Receipt

REMEMBERED = 4096
"""Deliveries: more than a broker leaves open at a time, far fewer than there are packet identifiers."""


class Deliveries:
    """The latest stored deliveries of one session, bounded.

    Args:
        receipts: what the spool knows from before, oldest first; whether they were acknowledged is unknown.
    """

    def __init__(self, receipts: Iterable[Receipt] = ()) -> None:
        self._digests: dict[int, int] = {}
        self._open: set[int] = set()
        self._soon_reused = False
        for receipt in receipts:
            self._remember(receipt)

    def stored(self, receipt: Receipt, *, again: bool) -> None:
        """This delivery is durable and not acknowledged. ``again``: it was marked DUP."""
        self._remember(receipt, again=again)
        self._open.add(receipt.packet)

    def acknowledged(self, packets: Iterable[int]) -> None:
        """Their PUBACKs were sent; whether they arrived is unknown."""
        self._open.difference_update(packets)

    def holds(self, receipt: Receipt) -> bool:
        """Whether a message marked DUP with this receipt is stored already."""
        if self._digests.get(receipt.packet) != receipt.digest:
            return False
        return receipt.packet in self._open or not self._soon_reused

    def _remember(self, receipt: Receipt, *, again: bool = False) -> None:
        if self._digests.pop(receipt.packet, None) is not None and not again:
            self._soon_reused = True
        self._digests[receipt.packet] = receipt.digest
        while len(self._digests) > REMEMBERED:
            oldest = next(iter(self._digests))
            del self._digests[oldest]
            self._open.discard(oldest)
