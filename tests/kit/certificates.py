"""Certificates for tests of TLS: a CA, what it signed, and everything that can be wrong with a certificate."""

import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

HOSTS = ("localhost", "127.0.0.1")
WRONG_HOST = "elsewhere.example"
CLIENT_HOST = "gateway.example"
"""Erlang refuses the empty list of alternative names that a certificate without a host would have."""
CLIENT_NAME = "gateway-7"
"""Common name of the good client certificate."""

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """The files of one certificate with its key, in PEM."""

    cert: Path
    key: Path


class CertificateKit:
    """Writes all certificates into ``folder``.

    Attributes:
        ca: the good CA; it signed everything that is not called rogue.
        server: for ``HOSTS``.
        client: with the common name ``CLIENT_NAME``.
        expired_server: for ``HOSTS``, until yesterday.
        early_server: for ``HOSTS``, from tomorrow.
        expired_client: until yesterday.
        wrong_host_server: for ``WRONG_HOST`` only.
        rogue_ca: a CA that nobody else trusts.
        rogue_server: for ``HOSTS``, signed by it.
        rogue_client: signed by it.
        self_signed_server: signed by its own key.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._good, self._rogue = trustme.CA(), trustme.CA(organization_name="rogue")
        self.ca = self._pem("ca", self._good.cert_pem)
        self.rogue_ca = self._pem("rogue-ca", self._rogue.cert_pem)
        now = datetime.now(UTC)
        past, future = (now - 3 * _DAY, now - _DAY), (now + _DAY, now + 3 * _DAY)
        self.server = self.issue("server", *HOSTS)
        self.client = self.issue("client", CLIENT_HOST, common_name=CLIENT_NAME)
        self.expired_server = self.issue("expired-server", *HOSTS, validity=past)
        self.early_server = self.issue("early-server", *HOSTS, validity=future)
        self.expired_client = self.issue("expired-client", CLIENT_HOST, common_name=CLIENT_NAME, validity=past)
        self.wrong_host_server = self.issue("wrong-host-server", WRONG_HOST)
        self.rogue_server = self.issue("rogue-server", *HOSTS, rogue=True)
        self.rogue_client = self.issue("rogue-client", CLIENT_HOST, common_name=CLIENT_NAME, rogue=True)
        lone = trustme.CA(organization_name="lone")
        self.self_signed_server = Identity(
            self._pem("lone", lone.cert_pem), self._pem("lone.key", lone.private_key_pem)
        )

    def issue(
        self,
        name: str,
        *hosts: str,
        common_name: str | None = None,
        validity: tuple[datetime, datetime] | None = None,
        rogue: bool = False,
    ) -> Identity:
        """A new certificate in ``name.pem`` and ``name.key.pem``; files of that name are overwritten."""
        authority = self._rogue if rogue else self._good
        not_before, not_after = validity or (None, None)
        leaf = authority.issue_cert(*hosts, common_name=common_name, not_before=not_before, not_after=not_after)
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        return Identity(self._write(name, chain), self._pem(f"{name}.key", leaf.private_key_pem))

    def server_context(self, identity: Identity | None = None, *, demand_client: bool = False) -> ssl.SSLContext:
        """For a server with that certificate (``server`` if none), which may demand one of the good CA."""
        identity = identity or self.server
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(identity.cert, identity.key)
        if demand_client:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _pem(self, name: str, blob: trustme.Blob) -> Path:
        return self._write(name, blob.bytes())

    def _write(self, name: str, pem: bytes) -> Path:
        path = self._folder / f"{name}.pem"
        path.write_bytes(pem)
        return path


class TlsServer:
    """Answers every line with the common name of the client's certificate.

    It runs OpenSSL over plain sockets in a thread, as most servers do; asyncio's own server drops the
    connection before the alert that says why is sent.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> int:
        self._thread.start()
        return self.port

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            raw.settimeout(10)
            with raw, contextlib.suppress(OSError), self._context.wrap_socket(raw, server_side=True) as wrapped:
                if wrapped.recv(100):
                    pairs = (wrapped.getpeercert() or {}).get("subject", ())
                    names = {pair[0][0]: pair[0][1] for pair in pairs}
                    wrapped.sendall(f"{names.get('commonName', 'nobody')}\n".encode())
