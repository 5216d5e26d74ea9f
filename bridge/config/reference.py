"""The reference of the configuration as Markdown, from the same models that check it."""

from collections.abc import Iterator

from pydantic import BaseModel

from bridge.config.options import Option, kind_name, options, summary
from bridge.config.schema import NAMED, TABLES, kinds_of

HEAD = """\
# Configuration

<!-- Written by `edge-bridge reference`; edit the docstrings of the settings classes instead. -->

The configuration is one TOML file, `/etc/edge-bridge/config.toml` unless `--config` names another, and every
`conf.d/*.toml` beside it. A key may be given once in all of them. `edge-bridge check` says everything that is
wrong with it and shows an example of the events of each source; `edge-bridge sample` prints a file to start
from.

- **Durations** are numbers of seconds or text: `"500ms"`, `"30s"`, `"5m"`, `"2h"`, `"7d"`.
- **Sizes** are numbers of bytes or text: `"64KiB"`, `"512MiB"`, `"2GB"`.
- **`${NAME}`** in any text is replaced from the environment; a name that is not set is a mistake. `$$` is a
  dollar sign, any other `$` stands for itself.
- **Secrets** are read from files, named by keys that end in `_file`, so that the configuration can be shown to
  anybody. With systemd's `LoadCredential=` the file is `"${CREDENTIALS_DIRECTORY}/NAME"`.
- **Names** of sources and sinks are 1 to 63 lower-case letters, digits, `-` and `_`. A name is the identity of
  the data on the disk: renaming a sink makes a new one, which gets everything that is still stored.
"""

TITLES = {"sources": "Where readings come from", "sinks": "Where events go"}


def reference() -> str:
    """The text of ``docs/configuration.md``."""
    inner: dict[type[BaseModel], str] = {}
    parts = [HEAD]
    for name, model in TABLES.items():
        parts += [f"## `[{name}]`\n", *_table(model, inner)]
    for name, model in NAMED.items():
        parts += [f"## `[{name}.NAME]`\n", *_table(model, inner)]
    for side, title in TITLES.items():
        parts.append(f"## `[{side}.NAME]`: {title[0].lower()}{title[1:]}\n")
        for kind, model in kinds_of(side).items():
            parts += [f'### `kind = "{kind}"`\n', *_table(model, inner)]
    parts.append("## Tables within tables\n")
    described: set[type[BaseModel]] = set()
    while rest := [table for table in inner if table not in described]:
        described.add(rest[0])
        word = kind_name(rest[0])
        title = f"`{inner[rest[0]]}`" + (f' with `kind = "{word}"`' if word else "")
        parts += [f"### {title}\n", *_table(rest[0], inner)]
    return "\n".join(parts)


def _table(model: type[BaseModel], inner: dict[type[BaseModel], str]) -> Iterator[str]:
    """The description of one table; the tables that may stand in it are noted in ``inner``."""
    yield summary(model) + "\n"
    found = options(model)
    if found:
        rows = [_row(option) for option in found]
        yield "\n".join(["| Key | Takes | Default | Meaning |", "| --- | --- | --- | --- |", *rows]) + "\n"
    for option in found:
        inner.update({table: inner.get(table, option.name) for table in option.tables})


def _row(option: Option) -> str:
    default = "**required**" if option.required else f"`{option.default}`" if option.default else ""
    kind = (
        option.kind
        if not option.tables
        else f"{'tables' if option.many else 'a table'}, see `{option.name}` below"
    )
    cells = (f"`{option.name}`", kind, default, option.meaning.replace("\n\n", " "))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
