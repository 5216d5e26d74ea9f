import asyncio
import errno
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import serial
from pydantic import ValidationError

import bridge.sources.serial_port
from bridge.clock import SystemClock
from bridge.errors import Paused, PeerError, Unavailable
from bridge.ports import Frame, Site
from bridge.sources.serial_port import CUT_AT_END, CUT_AT_START, OVERFLOW, QUIET, SerialSettings, SerialSource
from tests.kit.intake import FakeIntake
from tests.kit.pty_device import PtyDevice


class SlowClock(SystemClock):
    """The machine's clock, but ``passed`` seconds pass at each look at the timer."""

    def __init__(self, passed: float = 0.0) -> None:
        super().__init__()
        self._passed = passed
        self._looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        return self._looks * self._passed


@pytest.fixture
def device(tmp_path: Path) -> Iterator[PtyDevice]:
    with PtyDevice(tmp_path / "usb-meter") as device:
        yield device


def source_of(port: Path | str, clock: SystemClock | None = None, **settings: object) -> SerialSource:
    table = {"kind": "serial", "port": str(port), "event": {"type": "com.example.reading"}, **settings}
    return SerialSettings.model_validate(table).build("meter", Site("gw03", clock or SystemClock()))


@asynccontextmanager
async def running(source: SerialSource, intake: FakeIntake) -> AsyncIterator[asyncio.Task[None]]:
    """The source runs and its port is open; at the end it is cancelled and gone, whatever happened."""
    task = asyncio.create_task(source.run(intake))
    before = len(intake.peers)
    try:
        connected = asyncio.create_task(intake.until(connected=before + 1))
        await asyncio.wait((task, connected), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            connected.cancel()
            task.result()
        await connected
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,), timeout=10)
        assert task.done()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def failure(task: asyncio.Task[None]) -> PeerError:
    with pytest.raises(PeerError) as caught:
        await asyncio.wait_for(task, 20)
    return caught.value


async def test_lines_become_frames_in_order_with_their_origin_and_moment(device: PtyDevice) -> None:
    intake = FakeIntake()
    async with running(source_of(device.path, discard_first=False), intake):
        assert intake.peers == [str(device.path)]
        before = SystemClock().now().boot_ns
        await device.say(b'{"n":1}\r\n{"n"')
        await intake.until(durable=1)
        await device.say(b":2}\n\n\n")
        await intake.until(durable=2)
    first, second = intake.durable
    assert (first.payload, second.payload) == (b'{"n":1}', b'{"n":2}')
    assert first.origin == second.origin == str(device.path)
    assert first.captures == {"port": str(device.path)}
    assert first.fault is None
    assert before <= first.received.boot_ns <= second.received.boot_ns <= SystemClock().now().boot_ns
    assert intake.losses == {}


async def test_what_had_begun_before_the_port_was_opened_is_dropped_and_counted(device: PtyDevice) -> None:
    intake = FakeIntake()
    async with running(source_of(device.path, SlowClock()), intake):
        await device.say(b"f a line\nwhole\n")
        await intake.until(durable=1)
    assert intake.payloads == [b"whole"]
    assert intake.losses == {CUT_AT_START: 1}


async def test_a_line_that_begins_with_the_delimiter_of_the_last_one_costs_nothing(device: PtyDevice) -> None:
    intake = FakeIntake()
    async with running(source_of(device.path, SlowClock()), intake):
        await device.say(b"\nwhole\n")
        await intake.until(durable=1)
    assert intake.payloads == [b"whole"]
    assert intake.losses == {}


async def test_the_first_line_after_silence_is_kept(device: PtyDevice) -> None:
    intake = FakeIntake()
    async with running(source_of(device.path, SlowClock(QUIET)), intake):
        await device.say(b"first\n")
        await intake.until(durable=1)
    assert intake.payloads == [b"first"]
    assert intake.losses == {}


async def test_what_was_sent_before_the_port_was_opened_is_not_read(device: PtyDevice) -> None:
    intake = FakeIntake()
    await device.say(b"old\nolder\n")
    async with running(source_of(device.path, discard_first=False), intake):
        await device.say(b"new\n")
        await intake.until(durable=1)
    assert intake.payloads == [b"new"]


async def test_unplugging_is_unavailable_and_plugging_in_again_goes_on(device: PtyDevice) -> None:
    intake = FakeIntake()
    source = source_of(device.path, discard_first=False)
    for number in range(3):
        async with running(source, intake) as task:
            await device.say(b"line %d\nhalf" % number)
            await intake.until(durable=number + 1)
            device.unplug()
            error = await failure(task)
        assert type(error) is Unavailable
        assert str(device.path) in str(error)
        assert "unplugged" in str(error)
        with pytest.raises(Unavailable, match="is the device plugged in"):
            await source.run(intake)
        device.plug()
    assert intake.payloads == [b"line 0", b"line 1", b"line 2"]
    assert intake.losses == {CUT_AT_END: 3}


async def test_what_came_before_the_plug_was_pulled_is_stored_before_the_error(device: PtyDevice) -> None:
    intake = FakeIntake()
    async with running(source_of(device.path, discard_first=False), intake) as task:
        intake.gate.clear()
        await device.say(b"one\n")
        await intake.until(offered=1)
        await device.say(b"two\nthree\n")
        await until(lambda: _line(task) == 2)
        device.unplug()
        intake.gate.set()
        assert type(await failure(task)) is Unavailable
    assert intake.payloads == [b"one", b"two", b"three"]


async def test_a_second_opener_is_told_that_the_port_is_held(device: PtyDevice) -> None:
    intake = FakeIntake()
    async with running(source_of(device.path, discard_first=False), intake):
        with pytest.raises(Unavailable, match="held by another program"):
            await source_of(device.path).run(FakeIntake())
        await device.say(b"undisturbed\n")
        await intake.until(durable=1)
    assert device.openers() == 0
    async with running(source_of(device.path), FakeIntake()):
        assert device.openers() == 1


async def test_a_file_that_is_no_port_pauses(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(Paused, match="is no serial port"):
        await source_of(file).run(FakeIntake())
    with pytest.raises(Paused, match="is no serial port"):
        await source_of(tmp_path).run(FakeIntake())


async def test_garbage_is_a_fault_with_its_beginning_and_the_stream_goes_on(device: PtyDevice) -> None:
    intake = FakeIntake()
    framing = {"kind": "delimited", "max_length": 100}
    async with running(source_of(device.path, discard_first=False, framing=framing), intake):
        await device.say(b"\x00\xff" * 3000 + b"\n")
        await device.say(b"fine\n")
        await intake.until(durable=2)
    garbage, fine = intake.durable
    assert garbage.payload == (b"\x00\xff" * 128)
    assert garbage.fault is not None
    assert "6,000 bytes without an end" in garbage.fault
    assert (fine.payload, fine.fault) == (b"fine", None)


async def test_everything_that_came_while_the_spool_was_busy_is_one_burst(device: PtyDevice) -> None:
    intake = FakeIntake()
    async with running(source_of(device.path, discard_first=False), intake) as task:
        intake.gate.clear()
        await device.say(b"first\n")
        await intake.until(offered=1)
        await device.say(b"".join(b"%d\n" % number for number in range(500)))
        await until(lambda: _line(task) == 500)
        intake.gate.set()
        await intake.until(durable=501)
    assert [len(call) for call in intake.calls] == [1, 500]
    assert intake.payloads[1:] == [b"%d" % number for number in range(500)]


async def test_beyond_the_bound_the_oldest_are_dropped_and_counted(device: PtyDevice) -> None:
    intake = FakeIntake()
    async with running(source_of(device.path, discard_first=False, max_pending=8192), intake) as task:
        intake.gate.clear()
        await device.say(b"first\n")
        await intake.until(offered=1)
        await device.say(b"".join(b"%04d\n" % number for number in range(1000)) + b"last\n")
        await until(lambda: _last(task) == b"last")
        waiting = _line(task)
        intake.gate.set()
        await intake.until(durable=1 + waiting)
    assert 1 < waiting < 40
    assert intake.losses == {OVERFLOW: 1001 - waiting}
    assert intake.payloads[-3:] == [b"0998", b"0999", b"last"]


@pytest.mark.parametrize("flow_control", ["rtscts", "xonxoff"])
async def test_a_device_with_flow_control_is_held_back_instead(device: PtyDevice, flow_control: str) -> None:
    intake = FakeIntake()
    source = source_of(device.path, discard_first=False, max_pending=8192, flow_control=flow_control)
    async with running(source, intake):
        intake.gate.clear()
        talking = asyncio.create_task(device.say(b"".join(b"%06d\n" % number for number in range(5000))))
        await intake.until(offered=1)
        await asyncio.wait((talking,), timeout=0.3)
        assert not talking.done()
        intake.gate.set()
        await talking
        await intake.until(durable=5000)
    assert intake.payloads == [b"%06d" % number for number in range(5000)]
    assert intake.losses == {}


async def test_when_it_is_stopped_what_waits_is_handed_over_and_the_port_is_closed(device: PtyDevice) -> None:
    intake = FakeIntake()
    async with running(source_of(device.path, discard_first=False), intake) as task:
        intake.gate.clear()
        await device.say(b"one\n")
        await intake.until(offered=1)
        await device.say(b"two\nthr")
        await until(lambda: _line(task) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)
    assert [frame.payload for frame in intake.offered] == [b"one", b"two"]
    assert intake.losses == {CUT_AT_END: 1}
    await until(lambda: device.openers() == 0)


@pytest.mark.parametrize("steps", range(12))
async def test_cancelled_at_any_step_it_leaves_the_port_closed(device: PtyDevice, steps: int) -> None:
    task = asyncio.create_task(source_of(device.path, discard_first=False).run(FakeIntake()))
    for _ in range(steps):
        await asyncio.sleep(0 if steps < 8 else 0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    await until(lambda: device.openers() == 0)


async def test_cancelled_while_the_port_is_being_opened_it_closes_it_later(
    device: PtyDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, go_on = threading.Event(), threading.Event()
    really_open = serial.Serial.open

    ports = []

    def slow_open(port: serial.Serial) -> None:
        really_open(port)
        ports.append(port)  # or the interpreter's own tidying would close it
        opened.set()
        go_on.wait(20)

    monkeypatch.setattr(serial.Serial, "open", slow_open)
    task = asyncio.create_task(source_of(device.path).run(FakeIntake()))
    await asyncio.to_thread(opened.wait, 20)
    assert device.openers() == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await until(lambda: device.openers() == 0)


async def test_a_driver_that_does_not_close_the_port_does_not_hold_up_the_stop(
    device: PtyDevice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()
    really_close = serial.Serial.close

    def slow_close(port: serial.Serial) -> None:
        go_on.wait(20)
        really_close(port)

    monkeypatch.setattr(serial.Serial, "close", slow_close)
    monkeypatch.setattr(bridge.sources.serial_port, "CLOSING", 0.05)
    async with running(source_of(device.path), FakeIntake()):
        pass
    assert not go_on.is_set()
    assert [record.levelno for record in caplog.records if record.name.startswith("bridge")] == [logging.WARNING]
    go_on.set()
    await until(lambda: device.openers() == 0)


async def test_the_lines_dtr_and_rts_are_set_as_asked(monkeypatch: pytest.MonkeyPatch, device: PtyDevice) -> None:
    levels: list[tuple[bool, bool]] = []
    really_open = serial.Serial.open

    def noted_open(port: serial.Serial) -> None:
        levels.append((port.dtr, port.rts))
        really_open(port)

    monkeypatch.setattr(serial.Serial, "open", noted_open)
    async with running(source_of(device.path, dtr=False, rts=False), FakeIntake()):
        pass
    async with running(source_of(device.path), FakeIntake()):
        pass
    assert levels == [(False, False), (True, True)]


async def test_the_port_is_set_to_the_configured_format(
    monkeypatch: pytest.MonkeyPatch, device: PtyDevice
) -> None:
    seen: dict[str, object] = {}

    def noted_open(port: serial.Serial) -> None:
        seen.update(port.get_settings())
        raise serial.SerialException(errno.EINVAL, "a pty has no parity")

    monkeypatch.setattr(serial.Serial, "open", noted_open)
    source = source_of(device.path, baudrate=19200, bytesize=7, parity="even", stopbits=2, flow_control="xonxoff")
    with pytest.raises(Paused, match="cannot be set to the configured rate and format"):
        await source.run(FakeIntake())
    wanted = {"baudrate": 19200, "bytesize": 7, "parity": "E", "stopbits": 2, "xonxoff": True, "rtscts": False}
    assert wanted.items() <= seen.items()


async def test_a_format_that_the_driver_refuses_pauses(device: PtyDevice) -> None:
    with pytest.raises(Paused, match="cannot be set to the configured rate and format"):
        await source_of(device.path, parity="even").run(FakeIntake())
    assert device.openers() == 0


async def test_a_tcp_socket_stands_in_for_a_port_and_holds_back_instead_of_dropping() -> None:
    lines = [b"%07d" % number for number in range(20_000)]

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await until(lambda: bool(intake.peers))  # what came before is thrown away, as it is with a port
        writer.write(b"\n".join(lines) + b"\n")
        await writer.drain()
        writer.close()

    intake = FakeIntake()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"socket://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, running(source_of(url, discard_first=False, max_pending=4096), intake) as task:
        error = await failure(task)
    assert "is gone" in str(error)
    assert intake.payloads == lines
    assert intake.losses == {}
    with pytest.raises(Unavailable, match="cannot open socket://"):
        await source_of(url).run(intake)


async def test_no_descriptor_is_left_after_many_plugs(device: PtyDevice) -> None:
    source, intake = source_of(device.path), FakeIntake()

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    for number in range(3):
        async with running(source, intake) as task:
            device.unplug()
            await failure(task)
        device.plug()
        if number == 0:
            before = descriptors()
    await until(lambda: descriptors() <= before)


@pytest.mark.parametrize("port", ["/dev/ttyUSB0", "/dev/serial/by-id/usb-x", "socket://10.0.0.7:4001"])
def test_a_path_or_a_socket_is_a_port(port: str) -> None:
    settings = SerialSettings.model_validate({"port": port, "event": {"type": "t"}})
    assert settings.peer == port
    assert settings.sample_captures() == {"port": port}


@pytest.mark.parametrize(
    "port",
    [
        "ttyUSB0",
        "COM3",
        "",
        "socket://host",
        "socket://host:x",
        "socket://u:p@host:1",
        "tcp://host:1",
        "socket://h:1?a",
    ],
)
def test_anything_else_is_refused_with_an_example(port: str) -> None:
    with pytest.raises(ValidationError, match="/dev/serial/by-id"):
        SerialSettings.model_validate({"port": port, "event": {"type": "t"}})


def _frames(task: asyncio.Task[None]) -> list[Frame]:
    """What waits between the port and the intake of a running source."""
    coroutine = task.get_coro()
    return list(coroutine.cr_frame.f_locals["line"]._waiting)  # type: ignore[union-attr]


def _line(task: asyncio.Task[None]) -> int:
    return len(_frames(task))


def _last(task: asyncio.Task[None]) -> bytes | None:
    frames = _frames(task)
    return frames[-1].payload if frames else None


@pytest.mark.parametrize("discard_first", [False, True])
async def test_bytes_without_a_delimiter_are_told_once_with_what_to_look_at(
    device: PtyDevice, caplog: pytest.LogCaptureFixture, discard_first: bool
) -> None:
    source = source_of(device.path, discard_first=discard_first, framing={"max_length": 64})
    async with running(source, FakeIntake()):
        for _ in range(8):
            await device.say(b"\xf8" * 50)
        await until(lambda: bool(caplog.messages))
        await device.say(b"\xf8" * 500)
        await asyncio.sleep(0)
    [line] = [message for message in caplog.messages if "no frame" in message]
    assert "baudrate (9600)" in line
    assert str(device.path) in line
