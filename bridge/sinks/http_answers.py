"""What an HTTP status means for the events of the request; nothing here knows a library.

A fault of the configuration or of the receiver's set-up (credentials, address, content type) never costs an
event: the sink is paused. Only what can be blamed on the events themselves is rejected.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit, urlunsplit

from bridge.errors import Paused, PeerError, Unavailable

EXCERPT = 200
"""Characters of an answer's body that may go into a reason."""
LONGEST_WAIT = 86_400.0
"""Seconds; a receiver that asks for more is asked again after a day."""

_BUSY = frozenset({408, 425, 429})
_ADVICE: Mapping[int, str] = {
    401: "check the token or key (bearer_token_file, header_files), or the client certificate",
    402: "the account with the receiver needs attention",
    403: "the credentials are valid but may not write there: check the receiver's permissions",
    404: "check the path in url",
    405: "the address does not take POST: check the path in url",
    407: "a proxy in between demands a login",
    410: "the address has been withdrawn: ask the receiver's operator for a new url",
}
_WANTS_TLS = re.compile(
    r"plain HTTP request was sent to HTTPS port"  # nginx
    r"|speaking plain HTTP to an SSL-enabled"  # Apache
    r"|sent an HTTP request to an HTTPS server"  # Go
)
_DELAY = re.compile(r"\s*(\d{1,12})\s*\Z")
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        status: three digits.
        headers: names in lower case, each with its first value.
        text: the beginning of the body on one line, clean and without secrets.
    """

    status: int
    headers: Mapping[str, str]
    text: str = ""

    @property
    def confirms(self) -> bool:
        """Whether every event of the request is done (2xx)."""
        return 200 <= self.status < 300

    @property
    def too_large(self) -> bool:
        """Whether a smaller request may be taken."""
        return self.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def __str__(self) -> str:
        """``422 Unprocessable Entity: temperature is missing``."""
        try:
            phrase = f" {HTTPStatus(self.status).phrase}"
        except ValueError:
            phrase = ""
        return f"{self.status}{phrase}{': ' if self.text else ''}{cut(self.text)}"


def trouble(answer: Answer, *, same_type: bool, wall_ns: int) -> PeerError | None:
    """What the answer asks for if it does not settle the events; None for 2xx and for what they are to blame for.

    Args:
        answer: what came back.
        same_type: whether every request has the same content type, whatever the event.
        wall_ns: the gateway's clock, for a ``Retry-After`` in an answer without a date.
    """
    status = answer.status
    if answer.confirms:
        return None
    wait = retry_after(answer.headers, wall_ns)
    if status in _BUSY or status >= 500:
        asks = f", and asks for {wait:,.0f} s of rest" if wait else ""
        return Unavailable(f"the receiver answered {answer}{asks}", retry_after=wait)
    if status < 400:
        return Paused(f"the receiver answered {answer}{_moved(answer)}", retry_after=wait)
    if status == HTTPStatus.BAD_REQUEST and _WANTS_TLS.search(answer.text):
        return Paused("the receiver expects TLS at this port: use https in url")
    if status in _ADVICE:
        return Paused(f"the receiver answered {answer}; {_ADVICE[status]}", retry_after=wait)
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE and same_type:
        return Paused(
            f"the receiver answered {answer}; check mode and gzip: it does not take this form of request"
        )
    return None


def retry_after(headers: Mapping[str, str], wall_ns: int) -> float | None:
    """Seconds to wait (RFC 9110, 10.2.3), at most a day, or None if nothing usable is said.

    A date counts from the answer's own ``Date``, since the gateway's clock may be wrong.
    """
    text = headers.get("retry-after", "")
    delay = _DELAY.match(text)
    if delay:
        return min(float(delay[1]), LONGEST_WAIT)
    then = _http_date(text)
    if then is None:
        return None
    now = _http_date(headers.get("date", "")) or datetime.fromtimestamp(wall_ns / 1e9, UTC)
    return min(max((then - now).total_seconds(), 0.0), LONGEST_WAIT)


def clean(body: bytes, secrets: Collection[str]) -> str:
    """A body on one line, without control characters and without what is secret."""
    text = body.decode("utf-8", "replace")
    for secret in secrets:
        text = text.replace(secret, "***")
    return _UNPRINTABLE.sub(" ", text).strip()


def cut(text: str) -> str:
    """As much of a text as may go into a reason."""
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def masked(url: str) -> str:
    """The URL for people: the values of its query hidden, no user or password, no control characters."""
    try:
        parts = urlsplit(_UNPRINTABLE.sub(" ", url))
    except ValueError:
        return "an address that is no URL"
    query = "&".join(f"{name}=***" if mark else "***" for name, mark, _ in _pairs(parts.query))
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def _pairs(query: str) -> list[tuple[str, str, str]]:
    return [pair.partition("=") for pair in query.split("&")] if query else []


def _moved(answer: Answer) -> str:
    location = answer.headers.get("location")
    where = f"to {cut(masked(location))}" if location else "elsewhere"
    return f", which leads {where}: redirects are not followed, set url to where it leads"


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
