"""Contexts from files, rebuilt when a file changes."""

import asyncio
import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from bridge.errors import Paused
from bridge.settings import read_secret
from bridge.tls.settings import TlsSettings
from bridge.tls.validity import not_after


class _ClientContext(ssl.SSLContext):
    """A context that insists on its own server name, whatever library opens the connection."""

    server_hostname: str | None = None

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """As the standard library's, with our name."""
        name = self.server_hostname or server_hostname
        return super().wrap_socket(sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, name, session)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """As the standard library's, with our name."""
        return super().wrap_bio(incoming, outgoing, server_side, self.server_hostname or server_hostname, session)


Stamp = tuple[int, int, int] | None

_contexts: dict[TlsSettings, tuple[tuple[Stamp, ...], ssl.SSLContext]] = {}
"""The latest context for each settings that is in use; a handful, since settings come from the configuration."""
_CONTEXTS_KEPT = 64


async def client_context(settings: TlsSettings | None) -> ssl.SSLContext:
    """A context for connections as a client; ask for it before each connection.

    The same object is returned until one of the files changes (time, size or inode), so that a renewed
    certificate is used by the next connection. Built in a thread. ``settings.server_hostname`` is part of the
    context: whoever opens the connection passes the host of the address as usual.

    Raises:
        Paused: a file is missing, unreadable, of the wrong kind or expired, or certificate and key do not
            match; the message names the key of the configuration, the path and the cause.
    """
    return await asyncio.to_thread(_current, settings or TlsSettings())


def _current(settings: TlsSettings) -> ssl.SSLContext:
    # Looked at before the files are read: a change in between is met by the next call.
    stamps = tuple(_stamps(settings))
    known = _contexts.get(settings)
    if known is not None and known[0] == stamps:
        context = known[1]
    else:
        context = _build(settings)
        while len(_contexts) >= _CONTEXTS_KEPT:
            _contexts.pop(next(iter(_contexts)), None)
        _contexts[settings] = stamps, context
    if settings.cert is not None:
        _refuse_expired(settings.cert)
    return context


def _stamps(settings: TlsSettings) -> Iterator[Stamp]:
    paths = [settings.ca, settings.cert, settings.key, settings.key_password_file]
    if settings.ca is None:
        system = ssl.get_default_verify_paths()
        paths += [Path(path) for path in (system.cafile, system.capath) if path]
    for path in paths:
        if path is None:
            continue
        try:
            found = path.stat()
        except OSError:
            yield None  # building says what is wrong with it
        else:
            yield found.st_mtime_ns, found.st_size, found.st_ino


def _build(settings: TlsSettings) -> ssl.SSLContext:
    context = _ClientContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name by default
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.server_hostname = settings.server_hostname
    if settings.ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        _read("ca", settings.ca, "CERTIFICATE")
        # An intermediate CA, or the server's own certificate, may be all that a plant hands out.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(settings.ca)
        except OSError as error:
            raise Paused(
                f"ca = {settings.ca} holds a certificate that cannot be read: {_reason(error)}"
            ) from error
    if settings.cert is not None:
        _load_own(context, settings.cert, settings)
    return context


def _load_own(context: ssl.SSLContext, cert: Path, settings: TlsSettings) -> None:
    _read("cert", cert, "CERTIFICATE")
    key, name = (settings.key, "key") if settings.key is not None else (cert, "cert")
    _read(name, key, "PRIVATE KEY")
    password = None
    if settings.key_password_file is not None:
        password = read_secret(settings.key_password_file, "key_password_file")
    asked = False

    def give_password() -> str:
        nonlocal asked
        asked = True
        return password or ""

    try:
        # Without a callback OpenSSL would ask for the password on the terminal.
        context.load_cert_chain(cert, key, give_password)
    except (OSError, ValueError) as error:
        reason = _reason(error)
        if reason == "KEY_VALUES_MISMATCH":
            raise Paused(f"{name} = {key} is not the private key of cert = {cert}") from error
        if asked and password is None:
            raise Paused(f"the private key in {key} is encrypted: set key_password_file") from error
        if asked:
            raise Paused(
                f"the password in key_password_file = {settings.key_password_file} does not open the key in {key}"
            ) from error
        raise Paused(f"cannot use cert = {cert} with the key in {key}: {reason}") from error


def _read(name: str, path: Path, kind: str) -> bytes:
    """The content of a PEM file that holds at least one object of that kind."""
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = "; the daemon's user must be able to read it" if isinstance(error, PermissionError) else ""
        raise Paused(f"cannot read {name} = {path}: {error.strerror}{hint}") from error
    if not re.search(rb"-----BEGIN ([A-Z0-9]+ )*" + kind.encode() + rb"-----", content):
        what = "certificate" if kind == "CERTIFICATE" else "private key"
        raise Paused(f"{name} = {path} holds no {what} in PEM form")
    return content


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)


def _refuse_expired(cert: Path) -> None:
    # Only "expired" is believed of our own clock: one that nobody set lags behind, it does not run ahead.
    end = not_after(_read("cert", cert, "CERTIFICATE"))
    if end is not None and end < datetime.now(UTC):
        raise Paused(f"our client certificate cert = {cert} expired on {end:%Y-%m-%d %H:%M} UTC: renew it")
