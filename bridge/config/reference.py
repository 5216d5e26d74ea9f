"""The reference of the configuration as Markdown, from the same models that check it."""

from collections.abc import Iterator

from pydantic import BaseModel

from bridge.config.options import Option, kind_name, options, summary
from bridge.config.schema import TABLES, kinds_of

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
    parts = [HEAD]
    for name, model in TABLES.items():
        parts += [f"## `[{name}]`\n", *_table(name, model, 3)]
    for side, title in TITLES.items():
        parts.append(f"## `[{side}.NAME]`: {title[0].lower()}{title[1:]}\n")
        for kind, model in kinds_of(side).items():
            parts += [f'### `kind = "{kind}"`\n', *_table(f"{side}.NAME", model, 4)]
    return "\n".join(parts)


def _table(name: str, model: type[BaseModel], level: int) -> Iterator[str]:
    yield summary(model) + "\n"
    found = options(model)
    if found:
        yield "| Key | Takes | Default | Meaning |\n| --- | --- | --- | --- |"
        yield "\n".join(_row(name, option) for option in found) + "\n"
    for option in found:
        for table in option.tables:
            kind = kind_name(table)
            title = f"`[{name}.{option.name}]`" + (f' with `kind = "{kind}"`' if kind else "")
            yield f"{'#' * level} {title}\n"
            yield from _table(f"{name}.{option.name}", table, min(level + 1, 6))


def _row(name: str, option: Option) -> str:
    default = "**required**" if option.required else f"`{option.default}`" if option.default else ""
    kind = option.kind if not option.tables else f"table `[{name}.{option.name}]`"
    cells = (f"`{option.name}`", kind, default, option.meaning.replace("\n\n", " "))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
