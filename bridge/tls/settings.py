"""How the configuration describes TLS."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from bridge.settings import Settings


class TlsSettings(Settings):
    """Certificates for a connection over TLS; the files are read again when they change."""

    ca: Path | None = None
    """PEM file with the CAs that may sign the server's certificate. Default: those of the system."""
    cert: Path | None = None
    """PEM file with our client certificate, followed by intermediate CAs if there are any."""
    key: Path | None = None
    """PEM file with the private key of cert. Default: the key is in the file of cert."""
    key_password_file: Path | None = None
    """File with the password of the private key, if it has one."""
    server_hostname: str | None = Field(default=None, min_length=1, examples=["broker.example.com"])
    """The name that the server's certificate must carry. Default: the host of the address."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.cert is None:
            for name in ("key", "key_password_file"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is set, but cert is not: name the file of the client certificate")
        return self
