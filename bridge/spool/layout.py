"""The bytes of a segment: its name, its header, its records. The package docstring is the specification."""

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

MAJOR = 1
MINOR = 0
"""A newer minor only adds record types that have the ignorable bit."""

EVENT = 1
STATE = 2
GAP = 3
SEAL = 4
IGNORABLE = 0x80
"""Bit of a record's type: whoever does not know the type may skip the record."""
UNREADABLE = 0
"""Not on the disk: what :func:`scan` calls bytes that are no record."""

MARKED = 0x01
"""Flag of an event: it belongs to an append with marks."""
CARRIES = 0x02
"""Flag of an event: its payload is preceded by a u32 length and the marks of its append."""
OPENS = 0x04
"""Flag of an event: the first of its append."""
CLOSES = 0x08
"""Flag of an event: the last of its append."""

_HEADER = struct.Struct("<8sIHHQQQIIQ8sQ8x")
HEADER_SIZE = _HEADER.size
_HEADER_MAGIC = b"EBSPOOL\n"
_SYNCHRONISED = 0x01

_RECORD = struct.Struct("<IHBBQIIII")
RECORD_SIZE = _RECORD.size
_RECORD_TAIL = struct.Struct("<HBBQIIII")
_MAGIC = 0xB5EB
_MAGIC_BYTES = _MAGIC.to_bytes(2, "little")
_PADDING = [bytes(-size % 8) for size in range(8)]
_U32 = struct.Struct("<I")
_U32_MAX = 0xFFFF_FFFF
_U64_MAX = 0xFFFF_FFFF_FFFF_FFFF
_OFFSET_MAX = 2**62

CHUNK = 256 * 1024
"""How many bytes are read at once."""

_NAME = re.compile(r"(\d{10,18})-(\d{20})-([0-9a-f]{8})\.seg\Z")

assert HEADER_SIZE == 80  # noqa: S101 - the format on the disk depends on it
assert RECORD_SIZE == 32  # noqa: S101


@dataclass(slots=True)
class Segment:
    """One file of a log, as far as it must be remembered.

    Attributes:
        generation: rises with every attempt to publish a segment.
        first: offset of its first record.
        salt: seed of its header checksums.
        size: length of the file in bytes.
    """

    generation: int
    first: int
    salt: int
    size: int

    @property
    def name(self) -> str:
        """Its file name."""
        return f"{self.generation:010d}-{self.first:020d}-{self.salt:08x}.seg"


def parse_name(name: str, size: int) -> Segment | None:
    """The segment that a file name speaks of, or None when it is no segment's name."""
    match = _NAME.match(name)
    if match is None or int(match[2]) > _OFFSET_MAX:
        return None
    return Segment(int(match[1]), int(match[2]), int(match[3], 16), size)


@dataclass(frozen=True, slots=True)
class Header:
    """What stands at the head of a segment.

    Attributes:
        major: version of the format.
        minor: additions to it.
        generation: as in the name.
        first: as in the name.
        published: every offset below it was durable before the segment got its name.
        salt: as in the name.
        wall_ns: wall clock at its creation.
        boot_id: the boot it was created in.
        boot_ns: boot clock at its creation.
        synchronised: whether the wall clock was to be trusted.
    """

    major: int
    minor: int
    generation: int
    first: int
    published: int
    salt: int
    wall_ns: int
    boot_id: bytes
    boot_ns: int
    synchronised: bool

    def pack(self) -> bytes:
        """The 80 bytes of it."""
        raw = _HEADER.pack(
            _HEADER_MAGIC,
            0,
            self.major,
            self.minor,
            self.generation,
            self.first,
            self.published,
            self.salt,
            _SYNCHRONISED if self.synchronised else 0,
            self.wall_ns & _U64_MAX,
            self.boot_id,
            self.boot_ns & _U64_MAX,
        )
        return raw[:8] + _U32.pack(crc32(raw[12:], self.salt)) + raw[12:]


def parse_header(raw: bytes) -> Header | None:
    """The header in the first bytes of a segment, or None when they are damaged."""
    if len(raw) < HEADER_SIZE:
        return None
    magic, crc, major, minor, generation, first, published, salt, flags, wall, boot, boot_ns = _HEADER.unpack_from(
        raw
    )
    if magic != _HEADER_MAGIC or crc32(raw[12:HEADER_SIZE], salt) != crc:
        return None
    return Header(
        major, minor, generation, first, published, salt, wall, boot, boot_ns, bool(flags & _SYNCHRONISED)
    )


class Item(NamedTuple):
    """The payloads of one append, on their way to the disk.

    Attributes:
        first: offset of the first payload.
        payloads: what was appended.
        marks: the marks that go with them, packed, or None.
    """

    first: int
    payloads: Sequence[bytes]
    marks: bytes | None


def size_bound(payloads: Sequence[bytes], marks: bytes | None) -> int:
    """At least as many bytes as the payloads of an append take on the disk."""
    size = sum(map(len, payloads)) + len(payloads) * (RECORD_SIZE + 7)
    return size if marks is None else size + 2 * (len(marks) + 4)


class Encoder:
    """Puts records into bytes, for one write into one segment.

    Args:
        salt: of the segment.
        watermark: every offset below it is durable before this write.
        seconds: since the segment was created.
    """

    def __init__(self, salt: int, watermark: int, seconds: int) -> None:
        self._salt = salt
        self._watermark = watermark
        self._seconds = max(0, min(seconds, _U32_MAX))
        self._parts: list[bytes] = []

    def record(self, kind: int, flags: int, offset: int, payload: bytes) -> None:
        """Adds one record of any type."""
        size = len(payload)
        tail = _RECORD_TAIL.pack(
            _MAGIC,
            kind,
            flags,
            offset,
            size,
            crc32(payload),
            min(offset - self._watermark, _U32_MAX),
            self._seconds,
        )
        self._parts += (_U32.pack(crc32(tail, self._salt)), tail, payload, _PADDING[size % 8])

    def items(self, items: Sequence[Item], expected: int) -> None:
        """Adds appends in their order; offsets left out between them become gaps."""
        for item in items:
            if item.first > expected:
                self.gap(expected, item.first - expected)
            if item.marks is None or not item.payloads:
                self._events(item.first, item.payloads)
            else:
                self._marked(item.first, item.payloads, item.marks)
            expected = item.first + len(item.payloads)

    def gap(self, offset: int, count: int) -> None:
        """Adds a record that says: these offsets hold nothing, and that is known."""
        self.record(GAP, 0, offset, count.to_bytes(8, "little"))

    def joined(self) -> bytes:
        """Everything added so far."""
        return b"".join(self._parts)

    def _events(self, offset: int, payloads: Sequence[bytes], flags: int = 0) -> None:
        # The hot path of writing: the same as record(), without the call.
        pack, pack_crc, salt, parts = _RECORD_TAIL.pack, _U32.pack, self._salt, self._parts
        watermark, seconds = self._watermark, self._seconds
        for payload in payloads:
            size = len(payload)
            tail = pack(_MAGIC, EVENT, flags, offset, size, crc32(payload), offset - watermark, seconds)
            parts += (pack_crc(crc32(tail, salt)), tail, payload, _PADDING[size & 7])
            offset += 1

    def _marked(self, first: int, payloads: Sequence[bytes], marks: bytes) -> None:
        # The marks stand in the first and in the last record: no single damage takes them from the rest.
        prefix = _U32.pack(len(marks)) + marks
        last = len(payloads) - 1
        ends = MARKED | CARRIES
        self.record(EVENT, ends | OPENS | (CLOSES if not last else 0), first, prefix + payloads[0])
        self._events(first + 1, payloads[1:last], MARKED)
        if last:
            self.record(EVENT, ends | CLOSES, first + last, prefix + payloads[last])


def split_marks(payload: bytes) -> tuple[bytes, bytes]:
    """The marks and the payload of an event that carries marks."""
    size = int.from_bytes(payload[:4], "little")
    return payload[4 : 4 + size], payload[4 + size :]


class Found(NamedTuple):
    """One thing met by :func:`scan`, which gives plain tuples of these fields because they are cheaper to make.

    Attributes:
        start: position of its first byte.
        stop: position behind it.
        kind: type of the record, or ``UNREADABLE``.
        flags: flags of the record.
        offset: of the record.
        lag: of the record.
        payload: of the record; None when it does not match its checksum.
    """

    start: int
    stop: int
    kind: int
    flags: int
    offset: int
    lag: int
    payload: bytes | None


PlainFound = tuple[int, int, int, int, int, int, bytes | None]

Read = Callable[[int, int], bytes]
"""Gives at most that many bytes from that position of a segment."""


def scan(read: Read, position: int, end: int, salt: int) -> Iterator[PlainFound]:
    """What lies between two positions of a segment: records, and stretches that are none.

    Never raises for what the bytes say. Every position that a record may start at is looked at, so that
    damage takes only the records it touches.
    """
    unpack, size = _RECORD.unpack_from, RECORD_SIZE
    buffer, base, at = b"", position, 0
    while base + at + size <= end:
        if len(buffer) - at < size:
            base, at = base + at, 0
            wanted = min(CHUNK, end - base)
            buffer = read(base, wanted)
            if len(buffer) < wanted:
                end = base + len(buffer)
            if len(buffer) < size:
                break
        crc, magic, kind, flags, offset, length, payload_crc, lag, _ = unpack(buffer, at)
        if magic != _MAGIC or crc32(buffer[at + 4 : at + size], salt) != crc:
            start = base + at
            stop = _resynchronise(read, start + 8, end, salt)
            yield start, stop, UNREADABLE, 0, 0, 0, None
            at = stop - base
            continue
        stop = at + size + length
        if stop > len(buffer) and base + len(buffer) < end:
            wanted = min(max(CHUNK, size + length), end - base - at)
            base, at, stop = base + at, 0, size + length
            buffer = read(base, wanted)
            if len(buffer) < wanted:
                end = base + len(buffer)
        payload = buffer[at + size : stop]
        good = stop <= len(buffer) and crc32(payload) == payload_crc
        stop += -length & 7
        yield base + at, min(base + stop, end), kind, flags, offset, lag, payload if good else None
        at = stop
    if base + at < end:
        yield base + at, end, UNREADABLE, 0, 0, 0, None


def _resynchronise(read: Read, position: int, end: int, salt: int) -> int:
    """The next position with a good record header, or ``end``."""
    while position + RECORD_SIZE <= end:
        buffer = read(position, min(CHUNK, end - position))
        if len(buffer) < RECORD_SIZE:
            return end
        at = buffer.find(_MAGIC_BYTES, 4)
        while 0 <= at <= len(buffer) - (RECORD_SIZE - 4):
            start = at - 4
            if start % 8 == 0:
                (crc,) = _U32.unpack_from(buffer, start)
                if crc32(buffer[start + 4 : start + RECORD_SIZE], salt) == crc:
                    return position + start
            at = buffer.find(_MAGIC_BYTES, at + 1)
        # The last bytes may hold the beginning of a header.
        position += max(8, (len(buffer) - RECORD_SIZE + 8) // 8 * 8)
    return end
