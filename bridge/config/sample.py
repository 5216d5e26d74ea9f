"""The sample configuration: everything that can be written, explained, with what one needs first switched on."""

import textwrap
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from bridge.config.options import Option, kind_name, options, summary
from bridge.config.schema import NAMED, TABLES, kinds_of

HEAD = """\
#:schema ./edge-bridge.schema.json
# The configuration of edge-bridge.
#
# Lines that start with "# " explain. Lines that start with "#" and no space are options with their default or
# an example; take the "#" away to set them. After a change:
#
#   edge-bridge check            says everything that is wrong, and shows what events will look like
#   systemctl restart edge-bridge
#
# Durations are written "500ms", "30s", "5m", "2h", "7d"; sizes "64KiB", "512MiB", "2GB". ${NAME} in any text is
# replaced from the environment, $$ is a dollar sign. Passwords never stand here: they are read from files.
# Files named conf.d/*.toml beside this one are read, too.
"""

SOURCES = """\
# ---------------------------------------------------------------------------------------------------------
# Sources: where readings come from. Each is a table [sources.NAME]; the name is the identity of the source.
# ---------------------------------------------------------------------------------------------------------
"""

SINKS = """\
# ---------------------------------------------------------------------------------------------------------
# Sinks: where events go. Each is a table [sinks.NAME]; the name is the identity of what the sink has
# confirmed: a sink with a new name gets everything that is still on the disk. The one that is switched on only
# prints, and what is printed counts as delivered: put a real one in its place.
# ---------------------------------------------------------------------------------------------------------
"""

NAMES: Mapping[str, str] = {
    "lanes": "alarms",
    "sources.serial": "boiler",
    "sources.mqtt": "sensors",
    "sinks.amqp": "cloud",
    "sinks.http": "web",
    "sinks.console": "screen",
}
"""What the table of each kind is called in the sample."""

SWITCHED_ON = frozenset({"sources.mqtt", "sinks.console"})
"""Kinds whose table is live in the sample: a bridge that starts anywhere and shows what the local broker says."""

EXAMPLES: Mapping[str, str] = {
    "sources.serial.port": '"/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A5069RR4-if00-port0"',
    "sources.serial.event.type": '"com.example.boiler.reading.measured"',
    "sources.mqtt.topics": '["sensors/{device}/reading"]',
    "sources.mqtt.port": "1883",
    "sources.mqtt.client_id": '"edge-bridge-plant7-gw03-sensors"',
    "sources.mqtt.event.type": '"com.example.sensor.reading.measured"',
    "event.source": '"devices/{device}"',
    "event.subject": '"{device}"',
    "event.dataschema": '"https://example.com/schemas/reading.json"',
    "event.extensions": '{ partitionkey = "{device}" }',
    "sinks.amqp.url": '"amqps://broker.example.com:5671/plants"',
    "sinks.amqp.exchange": '"telemetry"',
    "username": '"plant7-gw03"',
    "password_file": '"/etc/edge-bridge/secrets/password"',
    "ca": '"/etc/edge-bridge/tls/ca.pem"',
    "cert": '"/etc/edge-bridge/tls/gateway.pem"',
    "key": '"/etc/edge-bridge/tls/gateway.key"',
    "key_password_file": '"/etc/edge-bridge/secrets/key-password"',
}
"""Values for options that have neither a default nor an example of their own, by the end of their path."""


def sample() -> str:
    """The text of ``config/edge-bridge.toml``."""
    parts = [HEAD]
    for name, model in TABLES.items():
        parts.append("\n".join(_table(name, model, name, live=True)) + "\n")
    for name, model in NAMED.items():
        parts.append("\n".join(_table(f"{name}.{NAMES[name]}", model, name, live=False)) + "\n")
    for side, head in (("sources", SOURCES), ("sinks", SINKS)):
        parts.append(head)
        for kind, model in kinds_of(side).items():
            path = f"{side}.{kind}"
            table = _table(f"{side}.{NAMES.get(path, kind)}", model, path, live=path in SWITCHED_ON)
            parts.append("\n".join(table) + "\n")
    return "\n".join(parts)


def example(path: str, option: Option) -> str:
    """A value for an option as TOML: its own example, one by path, its default, or one that shows its type."""
    ends = [path.split(".", cut)[-1] for cut in range(path.count(".") + 1)]
    named = next((EXAMPLES[end] for end in ends if end in EXAMPLES), None)
    return option.default or option.example or named or _placeholder(option.kind)


def _table(name: str, model: type[BaseModel], path: str, *, live: bool, many: bool = False) -> Iterator[str]:
    yield from _comment(summary(model))
    yield f"{'' if live else '#'}{f'[[{name}]]' if many else f'[{name}]'}"
    kind = kind_name(model)
    if kind is not None:
        yield f'{"" if live else "#"}kind = "{kind}"'
    nested: list[Option] = []
    for option in options(model):
        if option.tables:
            nested.append(option)
            continue
        yield from _comment(f"{option.meaning} ({_note(option)})")
        mark = "" if live and option.required else "#"
        yield f"{mark}{option.name} = {example(f'{path}.{option.name}', option)}"
    for option in nested:
        yield ""
        if not summary(option.tables[0]).startswith(option.meaning):
            yield from _comment(option.meaning)
        if len(option.tables) > 1:
            kinds = ", ".join(f'"{kind_name(one)}"' for one in option.tables)
            yield from _comment(f"Kinds: {kinds}; the reference describes each.")
        inner = f"{path}.{option.name}"
        shown = live and option.required
        yield from _table(f"{name}.{option.name}", option.tables[0], inner, live=shown, many=option.many)


def _note(option: Option) -> str:
    return f"{option.kind}; required" if option.required else option.kind


def _comment(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield from textwrap.wrap(
            paragraph,
            110,
            initial_indent="# ",
            subsequent_indent="# ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def _placeholder(kind: str) -> str:
    if kind.startswith("list"):
        return "[]"
    if kind.startswith("table"):
        return "{}"
    first = kind.split(",", maxsplit=1)[0].split(" or ", maxsplit=1)[0]
    known = {"whole number": "1", "number": "1", "true": "true", "duration": '"10s"', "size": '"1MiB"'}
    return known.get(first, '"…"')
