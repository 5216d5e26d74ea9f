"""TLS: what is verified, what a changed file does, and what people are told."""

import asyncio
import errno
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from bridge.errors import Paused
from bridge.tls import TlsSettings, client_context, explain, is_lasting
from bridge.tls.validity import not_after
from tests.kit.certificates import CLIENT_NAME, WRONG_HOST, CertificateKit, Identity, TlsServer


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> CertificateKit:
    return CertificateKit(tmp_path_factory.mktemp("certificates"))


async def ask(port: int, settings: TlsSettings | None, host: str = "localhost", *, say: bytes = b"who?\n") -> str:
    """Who the server thinks we are."""
    context = await client_context(settings)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=host)
    try:
        writer.write(say)
        async with asyncio.timeout(10):
            return (await reader.readline()).decode().strip()
    finally:
        writer.transport.abort()


async def failure(port: int, settings: TlsSettings | None, host: str = "localhost") -> OSError:
    """How connecting fails. Says nothing to the server: its reset for unread bytes would drown its alert."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - what it says is the test
        await ask(port, settings, host, say=b"")
    return caught.value


def own(kit: CertificateKit, identity: Identity) -> TlsSettings:
    return TlsSettings(ca=kit.ca, cert=identity.cert, key=identity.key)


# --- what is verified -------------------------------------------------------------------------------------


async def test_both_sides_know_each_other_by_their_certificates(kit: CertificateKit) -> None:
    with TlsServer(kit.server_context(demand_client=True)) as port:
        assert await ask(port, own(kit, kit.client)) == CLIENT_NAME
        assert await ask(port, own(kit, kit.client), "127.0.0.1") == CLIENT_NAME


async def test_the_key_may_be_in_the_file_of_the_certificate(kit: CertificateKit, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(kit.client.key.read_bytes() + kit.client.cert.read_bytes())
    with TlsServer(kit.server_context(demand_client=True)) as port:
        assert await ask(port, TlsSettings(ca=kit.ca, cert=both)) == CLIENT_NAME


async def test_the_servers_own_certificate_may_stand_for_its_ca(kit: CertificateKit) -> None:
    with TlsServer(kit.server_context()) as port:
        assert await ask(port, TlsSettings(ca=kit.server.cert)) == "nobody"


async def test_server_hostname_holds_whatever_host_was_dialled(kit: CertificateKit) -> None:
    settings = TlsSettings(ca=kit.ca, server_hostname=WRONG_HOST)
    with TlsServer(kit.server_context(kit.wrong_host_server)) as port:
        assert await ask(port, settings) == "nobody"
    with TlsServer(kit.server_context()) as port:
        error = await failure(port, settings)
    assert f"not for {WRONG_HOST}" in (explain(error) or "")


async def test_server_hostname_holds_for_plain_sockets_too(kit: CertificateKit) -> None:
    context = await client_context(TlsSettings(ca=kit.ca, server_hostname=WRONG_HOST))
    with TlsServer(kit.server_context(kit.wrong_host_server)) as port:

        def shake() -> str | None:
            with (
                socket.create_connection(("127.0.0.1", port)) as raw,
                context.wrap_socket(raw, server_hostname="localhost") as wrapped,
            ):
                return wrapped.version()

        assert await asyncio.to_thread(shake) == "TLSv1.3"


async def test_nothing_older_than_tls_1_2_is_spoken() -> None:
    context = await client_context(None)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


# --- what went wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("rogue_server", ["not signed by a CA in {ca}"]),
        ("self_signed_server", ["self-signed", "tls.ca"]),
        ("expired_server", ["has expired", "clock says {year}"]),
        ("early_server", ["not yet valid", "clock says {year}"]),
        ("wrong_host_server", ["not for localhost", "tls.server_hostname"]),
    ],
)
async def test_what_is_wrong_with_the_servers_certificate_is_named(
    kit: CertificateKit, identity: str, words: list[str]
) -> None:
    settings = TlsSettings(ca=kit.ca)
    with TlsServer(kit.server_context(getattr(kit, identity))) as port:
        error = await failure(port, settings)
    told = explain(error, settings) or ""
    for word in words:
        assert word.format(ca=kit.ca, year=datetime.now(UTC).year) in told
    assert is_lasting(error)


async def test_a_ca_that_the_system_does_not_know_is_named(kit: CertificateKit) -> None:
    with TlsServer(kit.server_context()) as port:
        error = await failure(port, None)
    assert "not signed by a CA" in (explain(error) or "")
    assert "a CA of the system" in (explain(error, TlsSettings()) or "")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_missing_client_certificate_is_named(kit: CertificateKit, version: ssl.TLSVersion) -> None:
    context = kit.server_context(demand_client=True)
    context.minimum_version = context.maximum_version = version
    with TlsServer(context) as port:
        error = await failure(port, TlsSettings(ca=kit.ca))
    assert "client certificate" in (explain(error) or "")
    assert "tls.cert" in (explain(error) or "")
    assert is_lasting(error)


async def test_a_client_certificate_of_an_unknown_ca_is_named(kit: CertificateKit) -> None:
    with TlsServer(kit.server_context(demand_client=True)) as port:
        error = await failure(port, own(kit, kit.rogue_client))
    assert "does not know the CA that signed it" in (explain(error) or "")
    assert is_lasting(error)


async def test_a_port_without_tls_is_named(kit: CertificateKit) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 this is something else\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listener:
        error = await failure(listener.sockets[0].getsockname()[1], TlsSettings(ca=kit.ca))
    assert "does not speak TLS" in (explain(error) or "")
    assert is_lasting(error)


async def test_a_handshake_that_was_cut_may_pass() -> None:
    error = ssl.SSLEOFError(
        8, "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1)"
    )
    assert "broke off" in (explain(error) or "")
    assert not is_lasting(error)


class Wrapper(Exception):
    """As libraries hide the cause."""

    os_error: OSError | None = None


def test_the_cause_is_found_behind_what_libraries_wrap_around_it() -> None:
    text = "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"
    cause = ssl.SSLError(1, text)
    chained, arguments, attribute = Wrapper("broken"), Wrapper("broken", cause), Wrapper("broken")
    chained.__cause__ = cause
    attribute.os_error = cause
    for error in (chained, arguments, attribute, ExceptionGroup("several", [cause]), Wrapper(text)):
        assert "does not speak TLS" in (explain(error) or "")
    chained.__cause__ = chained  # a circle ends
    assert explain(chained) is None


@pytest.mark.parametrize("text", ["Bad HTTP request", "unknown protocol", "access denied", "certificate", ""])
def test_what_has_nothing_to_do_with_tls_is_not_explained(text: str) -> None:
    assert explain(OSError(text)) is None
    assert not is_lasting(OSError(text))


# --- files ------------------------------------------------------------------------------------------------


async def test_the_same_files_give_the_same_context(kit: CertificateKit) -> None:
    assert await client_context(own(kit, kit.client)) is await client_context(own(kit, kit.client))
    assert await client_context(None) is await client_context(TlsSettings())


async def test_a_renewed_certificate_is_used_by_the_next_connection(kit: CertificateKit, tmp_path: Path) -> None:
    first, second = kit.issue("first", common_name="first"), kit.issue("second", common_name="second")
    settings = TlsSettings(ca=kit.ca, cert=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    with TlsServer(kit.server_context(demand_client=True)) as port:
        for identity, name in ((first, "first"), (second, "second")):
            for source, target in ((identity.cert, "cert"), (identity.key, "key")):
                new = tmp_path / "new"
                new.write_bytes(source.read_bytes())
                new.replace(tmp_path / f"{target}.pem")
            assert await ask(port, settings) == name


async def test_a_file_that_is_gone_pauses_and_is_used_again_when_it_is_back(
    kit: CertificateKit, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    settings = TlsSettings(ca=ca)
    with pytest.raises(Paused, match=rf"ca = {ca}: No such file"):
        await client_context(settings)
    ca.write_bytes(kit.ca.read_bytes())
    await client_context(settings)
    ca.unlink()
    with pytest.raises(Paused, match="No such file"):
        await client_context(settings)


async def test_every_unusable_file_is_named_with_its_cause(kit: CertificateKit, tmp_path: Path) -> None:
    junk, broken = tmp_path / "junk.pem", tmp_path / "broken.pem"
    junk.write_bytes(b"hello")
    broken.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    client = kit.client
    for settings, words in (
        (TlsSettings(ca=junk), f"ca = {junk} holds no certificate"),
        (TlsSettings(ca=broken), f"ca = {broken} holds a certificate that cannot be read"),
        (TlsSettings(ca=tmp_path), f"cannot read ca = {tmp_path}: Is a directory"),
        (TlsSettings(cert=junk, key=client.key), f"cert = {junk} holds no certificate"),
        (TlsSettings(cert=broken, key=client.key), f"cannot use cert = {broken}"),
        (TlsSettings(cert=client.cert, key=junk), f"key = {junk} holds no private key"),
        (TlsSettings(cert=client.cert), f"cert = {client.cert} holds no private key"),
        (TlsSettings(cert=client.cert, key=kit.server.key), f"key = {kit.server.key} is not the private key"),
        (own(kit, kit.expired_client), f"cert = {kit.expired_client.cert} expired on"),
    ):
        with pytest.raises(Paused) as caught:
            await client_context(settings)
        assert words in caught.value.why


async def test_an_expired_certificate_is_refused_on_every_call(kit: CertificateKit) -> None:
    for _ in range(2):
        with pytest.raises(Paused, match=r"expired on .* renew it"):
            await client_context(own(kit, kit.expired_client))


async def test_a_file_that_may_not_be_read_is_named(kit: CertificateKit, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> bytes:  # the tests may run as root, who may read everything
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(Paused, match="Permission denied; the daemon's user"):
        await client_context(TlsSettings(ca=kit.early_server.cert))


async def test_an_encrypted_key_needs_its_password_and_never_asks_the_terminal(
    kit: CertificateKit, tmp_path: Path
) -> None:
    key, password = tmp_path / "key.pem", tmp_path / "password"
    plain = serialization.load_pem_private_key(kit.client.key.read_bytes(), None)
    key.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"open sesame"),
        )
    )
    without = TlsSettings(ca=kit.ca, cert=kit.client.cert, key=key)
    settings = TlsSettings(ca=kit.ca, cert=kit.client.cert, key=key, key_password_file=password)
    with pytest.raises(Paused, match="is encrypted: set key_password_file"):
        await client_context(without)
    with pytest.raises(Paused, match="cannot read key_password_file"):
        await client_context(settings)
    password.write_text("open barley\n")
    with pytest.raises(Paused, match="does not open the key") as caught:
        await client_context(settings)
    assert "barley" not in str(caught.value)
    password.write_text("open sesame\n")
    with TlsServer(kit.server_context(demand_client=True)) as port:
        assert await ask(port, settings) == CLIENT_NAME


def test_the_end_of_a_certificate_is_read_in_both_of_its_forms(kit: CertificateKit) -> None:
    end = not_after(kit.expired_client.cert.read_bytes())
    assert end is not None
    assert end < datetime.now(UTC)
    far = kit.issue("far", common_name="far", validity=(datetime.now(UTC), datetime(2060, 2, 3, tzinfo=UTC)))
    assert not_after(far.cert.read_bytes()) == datetime(2060, 2, 3, tzinfo=UTC)
    pem = kit.client.cert.read_bytes()
    for junk in (
        b"",
        pem[:100],
        pem.replace(b"M", b"A"),
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
    ):
        assert not_after(junk) is None


# --- the configuration ------------------------------------------------------------------------------------


def test_a_key_without_its_certificate_is_a_mistake(tmp_path: Path) -> None:
    for name in ("key", "key_password_file"):
        with pytest.raises(ValidationError, match=f"{name} is set, but cert is not"):
            TlsSettings.model_validate({name: tmp_path})
