"""What a bridge promises to its peers, read from the calls on its sockets.

``GOT <n>``      reading ``n`` has reached the bridge: from here on it may be on the disk
``ACK <n>``      the bridge hands its PUBACK to the socket: from here on it must be
``SENT <n>``     its event is handed to the socket of the sink: nothing leaves that a power cut could take back
``TAKEN <n>``    the sink's 2xx has reached the bridge: from here on the queue need not have it
``REFUSED <n>``  the sink's refusal has: from here on it may be a dead letter
``STOPPED 0``    the bridge has ended in order: what the sink has had is written down

A reading that can never be decoded has ``GARBAGE`` and its number instead of a JSON object.
"""

import json
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.crash.strace import Call
from tests.crash.trace import Promise
from tests.kit.fake_mqtt import PUBACK, PUBLISH
from tests.kit.receiver import elements

_NUMBER = re.compile(rb'\A(?:\{"n":|GARBAGE )(\d+)')
_PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


def number_of(frame: bytes) -> int:
    """The number that a reading carries."""
    match = _NUMBER.match(frame)
    assert match, frame[:60]
    return int(match[1])


@dataclass
class Said:
    """What the peers of a bridge knew."""

    got: set[int] = field(default_factory=set)
    acked: set[int] = field(default_factory=set)
    sent: set[int] = field(default_factory=set)
    taken: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    written_down: set[int] = field(default_factory=set)

    @classmethod
    def parse(cls, lines: Iterable[Promise]) -> "Said":
        said = cls()
        sets = {
            "GOT": said.got,
            "ACK": said.acked,
            "SENT": said.sent,
            "TAKEN": said.taken,
            "REFUSED": said.refused,
        }
        for line in lines:
            word, number = line.text.split()
            if word == "STOPPED":
                said.written_down = said.taken | said.refused
            else:
                sets[word].add(int(number))
        return said


@dataclass
class Wire:
    """Listens to all connections of a bridge.

    Attributes:
        promises: in the order in which they were made.
        frames: each reading as the broker sent it.
        sent: the event of each reading, byte for byte; a second one with other bytes is a broken promise.
    """

    broker: int
    receiver: int
    promises: list[Promise] = field(default_factory=list)
    frames: dict[int, bytes] = field(default_factory=dict)
    sent: dict[int, bytes] = field(default_factory=dict)
    _links: dict[str, "_MqttLink | _HttpLink"] = field(default_factory=dict)

    def new_process(self) -> None:
        """What follows are the calls of another process."""
        self._links = {}

    def take(self, call: Call) -> None:
        """One call, in the order of completion."""
        descriptor = call.text.split(",", 1)[0].strip()
        if call.name == "connect":
            self._connect(descriptor, call)
        elif call.name == "close":
            self._links.pop(descriptor, None)
        link = self._links.get(descriptor)
        if link is None:
            return
        if call.name in {"sendto", "sendmsg"} and (call.result is None or call.result > 0):
            # What a kill cut short may have got away all the same.
            link.sends(call.data, call.begun)
        elif call.name in {"recvfrom", "recvmsg"} and call.result is not None and call.result > 0:
            link.receives(call.data, call.begun, call.done)

    def say(self, at: int, word: str, number: int) -> None:
        """Notes a promise."""
        self.promises.append(Promise(at, f"{word} {number}"))

    def _connect(self, descriptor: str, call: Call) -> None:
        match = _PORT.search(call.text)
        port = int(match[1]) if match else 0
        self._links.pop(descriptor, None)
        if port == self.broker:
            self._links[descriptor] = _MqttLink(self)
        elif port == self.receiver:
            self._links[descriptor] = _HttpLink(self)


class _MqttLink:
    """A connection to the broker, MQTT 3.1.1."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._out = bytearray()
        self._in = bytearray()
        self._numbers: dict[int, int] = {}

    def sends(self, data: bytes, at: int) -> None:
        self._out += data
        for kind, body in _packets(self._out):
            if kind >> 4 == PUBACK:
                self._wire.say(at, "ACK", self._numbers[int.from_bytes(body[:2], "big")])

    def receives(self, data: bytes, begun: int, done: int) -> None:
        self._in += data
        for kind, body in _packets(self._in):
            if kind >> 4 == PUBLISH:
                start = 2 + int.from_bytes(body[:2], "big")
                frame = body[start + 2 :]
                number = number_of(frame)
                self._numbers[int.from_bytes(body[start : start + 2], "big")] = number
                assert self._wire.frames.setdefault(number, frame) == frame
                self._wire.say(begun, "GOT", number)


class _HttpLink:
    """A connection to the receiver, one request after the other."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._out = bytearray()
        self._in = bytearray()
        self._asked: deque[list[int]] = deque()

    def sends(self, data: bytes, at: int) -> None:
        self._out += data
        for head, body in _messages(self._out):
            batch = b"application/cloudevents-batch+json" in head
            numbers = []
            for event in elements(body) if batch else [body]:
                number = json.loads(event)["data"]["n"]
                known = self._wire.sent.setdefault(number, event)
                assert known == event, f"reading {number} was sent again with another id or other bytes"
                self._wire.say(at, "SENT", number)
                numbers.append(number)
            self._asked.append(numbers)

    def receives(self, data: bytes, begun: int, done: int) -> None:
        self._in += data
        for head, _ in _messages(self._in):
            status = int(head.split(b" ", 2)[1])
            numbers = self._asked.popleft()
            if 200 <= status < 300:
                word = "TAKEN"
            elif status == 400 and len(numbers) == 1:
                word = "REFUSED"
            else:
                continue
            for number in numbers:
                self._wire.say(done, word, number)


def _packets(buffer: bytearray) -> list[tuple[int, bytes]]:
    """Takes the whole packets out of a buffer: the first byte and the body of each."""
    packets: list[tuple[int, bytes]] = []
    while True:
        length = shift = 0
        at = 1
        while at < len(buffer):
            length |= (buffer[at] & 127) << shift
            shift += 7
            at += 1
            if buffer[at - 1] < 128:
                break
        else:
            return packets
        if len(buffer) < at + length:
            return packets
        packets.append((buffer[0], bytes(buffer[at : at + length])))
        del buffer[: at + length]


def _messages(buffer: bytearray) -> list[tuple[bytes, bytes]]:
    """Takes the whole messages of HTTP out of a buffer: the head and the body of each."""
    messages = []
    while (end := buffer.find(b"\r\n\r\n")) >= 0:
        head = bytes(buffer[: end + 2])
        match = _LENGTH.search(head)
        stop = end + 4 + (int(match[1]) if match else 0)
        if len(buffer) < stop:
            break
        messages.append((head, bytes(buffer[end + 4 : stop])))
        del buffer[:stop]
    return messages
