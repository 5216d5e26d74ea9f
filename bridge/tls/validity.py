"""Until when a certificate is valid; the standard library tells that only of a peer's."""

import ssl
from datetime import UTC, datetime


def not_after(pem: bytes) -> datetime | None:
    """When the first certificate of the file ends (RFC 5280, 4.1), or None if that cannot be read."""
    try:
        text = pem.decode("latin-1")
        start = text.index("-----BEGIN CERTIFICATE-----")
        end = text.index("-----END CERTIFICATE-----", start) + len("-----END CERTIFICATE-----")
        der = ssl.PEM_cert_to_DER_cert(text[start:end])
        to_be_signed = _Der(_Der(der).enter()).enter()
        fields = _Der(to_be_signed)
        if fields.tag() == 0xA0:  # [0] version
            fields.enter()
        for _ in ("serialNumber", "signature", "issuer"):
            fields.enter()
        validity = _Der(fields.enter())
        validity.enter()
        short = validity.tag() == 0x17  # UTCTime has two digits of the year, GeneralizedTime four
        written = validity.enter().decode("ascii")
        if short:
            written = ("19" if written >= "50" else "20") + written
        return datetime.strptime(written, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (ValueError, IndexError):
        return None


class _Der:
    """Walks over consecutive values in DER (X.690)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def tag(self) -> int:
        """The tag of the next value."""
        return self._data[self._at]

    def enter(self) -> bytes:
        """The content of the next value, which is then behind."""
        length, start = self._data[self._at + 1], self._at + 2
        if length >= 0x80:
            count = length & 0x7F
            length, start = int.from_bytes(self._data[start : start + count], "big"), start + count
        self._at = start + length
        return self._data[start : self._at]
