"""The HTTP sink over TLS: who trusts whom is settled before anything is sent."""

import asyncio
from pathlib import Path

import pytest

from bridge.errors import Paused, Unavailable
from bridge.sinks.http_endpoint import HttpSink
from tests.kit.certificates import CLIENT_NAME, CertificateKit, TlsServer
from tests.kit.http_sink import EVENTS, assert_nothing_runs_since, attempt, event, sink_to
from tests.kit.receiver import Receiver


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> CertificateKit:
    return CertificateKit(tmp_path_factory.mktemp("certificates"))


async def test_both_sides_know_each_other_by_their_certificates(kit: CertificateKit) -> None:
    tls = {"ca": kit.ca, "cert": kit.client.cert, "key": kit.client.key}
    async with Receiver(tls=kit.server_context(demand_client=True)) as receiver:
        async with sink_to(receiver.url, tls=tls).open() as delivery:
            await delivery.send(EVENTS)
        assert {request.client for request in receiver.requests} == {CLIENT_NAME}
        assert len(receiver.accepted) == 10


async def test_a_renewed_certificate_is_used_by_the_next_connection(kit: CertificateKit, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    sink: HttpSink | None = None
    async with Receiver(tls=kit.server_context(demand_client=True)) as receiver:
        for name in ("first", "second"):
            identity = kit.issue(name, common_name=name)
            both.write_bytes(identity.cert.read_bytes() + identity.key.read_bytes())
            sink = sink or sink_to(receiver.url, tls={"ca": kit.ca, "cert": both})
            async with sink.open() as delivery:
                await delivery.send([event(1)])
        assert [request.client for request in receiver.requests] == ["first", "second"]


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("rogue_server", "not signed by a CA in {ca}"),
        ("self_signed_server", "self-signed"),
        ("expired_server", "has expired"),
        ("early_server", "not yet valid"),
        ("wrong_host_server", "not for localhost"),
    ],
)
async def test_an_untrusted_receiver_pauses_and_its_fault_is_named(
    kit: CertificateKit, identity: str, words: str
) -> None:
    async with Receiver(tls=kit.server_context(getattr(kit, identity))) as receiver:
        error = await attempt(sink_to(receiver.url, tls={"ca": kit.ca}), [event(1)])
        assert not receiver.requests
    assert isinstance(error, Paused)
    assert words.format(ca=kit.ca) in error.why
    assert error.why.startswith(receiver.url)


@pytest.mark.parametrize(
    ("identity", "words"),
    [("rogue_client", "does not know the CA that signed it"), (None, "demands a client certificate")],
)
async def test_a_receiver_that_refuses_our_certificate_pauses_before_anything_is_sent(
    kit: CertificateKit, identity: str | None, words: str
) -> None:
    tls = {"ca": kit.ca}
    if identity is not None:
        tls |= {"cert": getattr(kit, identity).cert, "key": getattr(kit, identity).key}
    with TlsServer(kit.server_context(demand_client=True)) as port:
        error = await attempt(sink_to(f"https://localhost:{port}/events", tls=tls), [])
    assert isinstance(error, Paused)
    assert words in error.why


async def test_a_missing_file_pauses_and_names_path_and_receiver(tmp_path: Path) -> None:
    error = await attempt(sink_to("https://localhost:1/events", tls={"ca": tmp_path / "ca.pem"}), [])
    assert isinstance(error, Paused)
    assert (
        error.why == f"https://localhost:1/events: cannot read ca = {tmp_path}/ca.pem: No such file or directory"
    )


async def test_a_port_without_tls_pauses(kit: CertificateKit) -> None:
    async with Receiver() as receiver:
        error = await attempt(sink_to(receiver.url.replace("http:", "https:"), tls={"ca": kit.ca}), [])
    assert isinstance(error, Paused)
    assert "does not speak TLS" in error.why


async def test_a_port_that_expects_tls_never_confirms(kit: CertificateKit) -> None:
    async with Receiver(tls=kit.server_context()) as receiver:
        error = await attempt(sink_to(receiver.url.replace("https:", "http:")), [event(1)])
    assert isinstance(error, Unavailable)


@pytest.mark.parametrize("turns", range(0, 120, 13))
async def test_cancelling_at_any_await_leaves_nothing_running(kit: CertificateKit, turns: int) -> None:
    async with Receiver(tls=kit.server_context()) as receiver:
        before = asyncio.all_tasks()

        async def work() -> None:
            async with sink_to(receiver.url, tls={"ca": kit.ca}).open() as delivery:
                await delivery.send(EVENTS)

        working = asyncio.create_task(work())
        for _ in range(turns):
            await asyncio.sleep(0.001)
        working.cancel()
        await asyncio.wait({working})
        await assert_nothing_runs_since(before)
