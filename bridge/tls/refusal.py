"""The refusal that comes late: with TLS 1.3 a server judges our certificate after our side of the handshake."""

import asyncio

LEAST, MOST = 0.1, 1.0
"""Seconds to wait for a refusal; between them it is as long as connecting took, which a round trip fits into."""


def patience(connecting: float) -> float:
    """How many seconds to wait for a refusal after connecting took ``connecting`` seconds."""
    return min(MOST, max(LEAST, connecting))


async def await_refusal(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connecting: float) -> None:
    """Returns when the server seems to have taken our certificate; for protocols in which the client speaks first.

    Nothing may have been sent yet: to bytes that arrive after its refusal a server answers with a reset, which
    overtakes the alert that names the cause.

    Args:
        reader: of the connection; nothing is taken from it.
        writer: of the connection.
        connecting: the seconds that connecting took.

    Raises:
        OSError: the server refused us (``explain`` names the cause), or closed the connection.
    """
    if writer.get_extra_info("ssl_object").version() != "TLSv1.3":
        return
    try:
        async with asyncio.timeout(patience(connecting)):
            if await reader.read(1):
                raise ConnectionResetError("the server speaks out of turn")
    except TimeoutError:
        return
    raise ConnectionResetError("closed")
