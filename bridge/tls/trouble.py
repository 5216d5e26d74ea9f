"""What went wrong with TLS, in words for people."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from bridge.tls.settings import TlsSettings


@dataclass(frozen=True, slots=True)
class _Cause:
    pattern: re.Pattern[str]
    clause: str
    lasting: bool = True


def _cause(pattern: str, clause: str, *, lasting: bool = True) -> _Cause:
    return _Cause(re.compile(pattern, re.IGNORECASE), clause, lasting)


_ALERT = r"\[SSL: [^\]]*ALERT_"
"""How OpenSSL begins to say what the other side told us (RFC 8446, 6.2)."""

_CAUSES = (
    # What OpenSSL says about the server's certificate (X509_verify_cert_error_string(3)).
    _cause(r"verify failed: self.signed certificate in certificate chain", "{unknown_ca}"),
    _cause(
        r"verify failed: self.signed certificate",
        "the server's certificate is self-signed; if it is the right one, put it into the file of tls.ca",
    ),
    _cause(r"unable to get (?:local )?issuer certificate|unable to verify the first certificate", "{unknown_ca}"),
    _cause(
        r"verify failed: certificate has expired",
        "the server's certificate has expired (the gateway's clock says {now})",
    ),
    _cause(
        r"verify failed: certificate is not yet valid",
        "the server's certificate is not yet valid; the gateway's clock says {now}, is that right?",
    ),
    _cause(
        r"(?:hostname|ip address) mismatch, certificate is not valid for '?([^'\s]+)",
        "the server's certificate is not for {0}: check the address, or set tls.server_hostname",
    ),
    _cause(r"certificate verify failed: (.+?)\.?(?: \(_ssl|\Z)", "the server's certificate is refused: {0}"),
    # What the server says about ours.
    _cause(_ALERT + "CERTIFICATE_REQUIRED", "the server demands a client certificate: set tls.cert and tls.key"),
    _cause(
        _ALERT + "UNKNOWN_CA", "the server refuses our client certificate: it does not know the CA that signed it"
    ),
    _cause(
        _ALERT + "CERTIFICATE_EXPIRED",
        "the server refuses our client certificate: it has expired (or the server's clock is wrong)",
    ),
    _cause(_ALERT + "CERTIFICATE_REVOKED", "the server refuses our client certificate: it was revoked"),
    _cause(
        _ALERT + "(?:BAD_CERTIFICATE|CERTIFICATE_UNKNOWN|UNSUPPORTED_CERTIFICATE|DECRYPT_ERROR|ACCESS_DENIED)",
        "the server refuses our client certificate; check tls.cert and what the server expects",
    ),
    _cause(
        _ALERT + "HANDSHAKE_FAILURE",
        "the server refuses the handshake: it may demand a client certificate (tls.cert), or ciphers differ",
    ),
    # Versions and ports.
    _cause(
        r"\[SSL: (?:WRONG_VERSION_NUMBER|HTTP_REQUEST|UNKNOWN_PROTOCOL|RECORD_LAYER_FAIL|PACKET_LENGTH_TOO_LONG)",
        "what answers at this port does not speak TLS: check the port, or use the address without TLS",
    ),
    _cause(
        _ALERT + r"PROTOCOL_VERSION|\[SSL: (?:UNSUPPORTED_PROTOCOL|NO_PROTOCOLS_AVAILABLE)",
        "the server speaks no version of TLS that is safe: 1.2 or newer is needed",
    ),
    _cause(r"\[SSL: [^\]]*UNRECOGNIZED_NAME", "the server knows no host of this name; check the address"),
    # These may pass by themselves.
    _cause(
        r"\[SSL: UNEXPECTED_EOF_WHILE_READING|EOF occurred in violation of protocol",
        "the server broke off the TLS connection",
        lasting=False,
    ),
    _cause(
        r"SSL handshake is taking longer|handshake operation timed out",
        "the server did not finish the TLS handshake",
        lasting=False,
    ),
)


def explain(error: BaseException, settings: TlsSettings | None = None) -> str | None:
    """What is wrong with TLS, as one clause for people, or None if the error has nothing to do with it.

    Looks through what the libraries wrap around it: causes, contexts, groups and arguments.

    Args:
        error: what was caught.
        settings: names the file of the CAs, if given.
    """
    for text in _texts(error):
        for cause in _CAUSES:
            found = cause.pattern.search(text)
            if found:
                return cause.clause.format(*found.groups(), unknown_ca=_unknown_ca(settings), now=_clock())
    return None


def is_lasting(error: BaseException) -> bool:
    """Whether it is TLS that failed, and somebody has to mend it; a handshake that was cut short may pass."""
    for text in _texts(error):
        for cause in _CAUSES:
            if cause.pattern.search(text):
                return cause.lasting
    return False


def _unknown_ca(settings: TlsSettings | None) -> str:
    if settings is None:
        where = "a CA that this gateway trusts; set tls.ca to its CA"
    elif settings.ca is None:
        where = "a CA of the system; set tls.ca to its CA"
    else:
        where = f"a CA in {settings.ca}"
    return f"the server's certificate is not signed by {where} (or the server does not send its intermediate CA)"


def _clock() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _texts(error: BaseException) -> Iterator[str]:
    """What the error says, and those behind it, each once, the nearest first."""
    queue: list[BaseException] = [error]
    seen: set[int] = set()
    while queue:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield str(current)
        behind = (
            current.__cause__,
            current.__context__,
            getattr(current, "os_error", None),
            getattr(current, "certificate_error", None),
            *getattr(current, "exceptions", ()),
            *current.args,
        )
        queue += [other for other in behind if isinstance(other, BaseException)]
