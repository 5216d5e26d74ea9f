"""What the reason codes of MQTT mean for people, and who has to do something about them.

MQTT 5.0 §2.4; the return codes of a 3.1.1 CONNACK and SUBACK are expected in their version 5 equivalents, as
client libraries give them.
"""

from bridge.errors import Paused, PeerError, Unavailable

FAILURE = 128
"""From this code on something was refused."""

_TEXTS = {
    128: "it gives no reason",
    130: "it says that we broke the protocol",
    131: "its own rules forbid it",
    132: 'it does not speak this version of MQTT: set protocol = "3.1.1" or "5"',
    133: "it does not accept the client identifier: check client_id",
    134: "it does not accept the user name or password: check username and password_file",
    135: "not authorised: check username, password_file and the broker's access list",
    136: "it is not ready to serve",
    137: "it is busy",
    138: "this client is banned there",
    139: "it is shutting down",
    140: "it wants another way of authentication",
    141: "it heard nothing from us for longer than the keep-alive time",
    142: "another client connected with the same client_id: give each its own",
    143: "it does not accept the topic filter",
    144: "it does not accept the topic",
    147: "it says that we sent more than its receive maximum",
    149: "the message is larger than it accepts",
    151: "a quota is used up",
    152: "an administrator ended the connection",
    153: "it says that the payload has not the format that was declared",
    154: "it does not keep retained messages",
    155: "it does not offer this quality of service",
    156: "it asks for another server to be used",
    157: "it has moved to another server",
    158: "it does not offer shared subscriptions",
    159: "too many connections in a short time",
    160: "the connection lasted longer than it allows",
    161: "it does not offer subscription identifiers",
    162: "it does not offer wildcards in subscriptions",
}

_MENDED_BY_PEOPLE = frozenset({132, 133, 134, 135, 138, 140, 142, 143, 154, 155, 156, 157, 158, 161, 162})

_MENDED_BY_NOBODY = frozenset({144, 149, 153})


def reason_text(code: int) -> str:
    """The code in words, to follow "the broker refused …: "."""
    text = _TEXTS.get(code)
    return text if text is not None else f"reason code 0x{code:02x}"


def refusal(peer: str, deed: str, code: int) -> PeerError:
    """The error for "``peer`` ``deed``: the reason".

    Returns:
        ``Paused`` when trying again soon is useless, because somebody has to change a setting here or there.
    """
    why = f"{peer} {deed}: {reason_text(code)}"
    return Paused(why) if code in _MENDED_BY_PEOPLE else Unavailable(why)


def concerns_the_message(code: int) -> bool:
    """Whether the very same message will always be refused with this code."""
    return code in _MENDED_BY_NOBODY
