"""Imports go down the floors only, in no circle, and a protocol library has one door."""

import subprocess
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.house.tree import ROOT, inner_imports, modules, write

FLOORS = {
    "event": 0, "errors": 0, "clock": 0, "backoff": 0, "hush": 0,
    "ports": 1, "settings": 1, "report": 1,
    "codec": 2, "shape": 2, "spool": 2, "wire": 2, "mqtt_session": 2, "tls": 2,
    "sources": 3, "sinks": 3,
    "run": 4, "config": 4, "host": 4, "upkeep": 4,
    "assemble": 5,
    "cli": 6, "__main__": 6,
}  # fmt: skip
STRANGERS = {3, 4}
"""Floors whose rooms never import each other."""

LIBRARY_DOORS = {
    "aiomqtt": "bridge.mqtt_session",
    "paho": "bridge.mqtt_session",
    "aio_pika": "bridge.sinks.amqp_connection",
    "aiormq": "bridge.sinks.amqp_connection",
    "pamqp": "bridge.sinks.amqp_connection",
    "yarl": "bridge.sinks.amqp_connection",
    "aiohttp": "bridge.sinks.http_endpoint",
    "serial": "bridge.sources.serial_port",
    "serial_asyncio_fast": "bridge.sources.serial_port",
    "msgpack": "bridge.spool.envelope",
    "cloudevents": "bridge.codec.sdk_check",
    "sdnotify": "bridge.host.systemd",
    "platformdirs": "bridge.config.paths",
}
EVERYWHERE = {"pydantic", "pydantic_core"}
"""The ground that every settings class stands on."""


def broken_floors(root: Path) -> list[str]:
    known = modules(root)
    broken = []
    for name, module in known.items():
        if name == "bridge":
            broken += [f"bridge imports {other}" for other in inner_imports(module, known)]
            continue
        room = name.split(".")[1]
        if room not in FLOORS:
            broken.append(f"{name} has no floor")
            continue
        for other in inner_imports(module, known) - {"bridge"}:
            other_room = other.split(".")[1]
            here, there = FLOORS[room], FLOORS.get(other_room, 0)
            if there > here or (there == here and here in STRANGERS and room != other_room):
                broken.append(f"{name} (floor {here}) imports {other} (floor {there})")
    return broken


def circles(root: Path) -> list[str]:
    known = modules(root)
    graph = {name: inner_imports(module, known) for name, module in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" → ".join(reversed(error.args[1]))]
    return []


def wrong_doors(root: Path) -> list[str]:
    importers: dict[str, set[str]] = defaultdict(set)
    for name, module in modules(root).items():
        for imported in module.imports():
            importers[imported.split(".")[0]].add(name)
    broken = []
    for library, names in sorted(importers.items()):
        if library in {"bridge", "__future__"} | EVERYWHERE or library in sys.stdlib_module_names:
            continue
        door = LIBRARY_DOORS.get(library)
        if door is None:
            broken.append(f"{library} has no door, but {', '.join(sorted(names))} imports it")
        else:
            broken += [f"{name} imports {library}, whose door is {door}" for name in sorted(names - {door})]
    return broken


def test_imports_go_down_the_floors_only() -> None:
    assert broken_floors(ROOT) == []


def test_modules_do_not_import_in_circles() -> None:
    assert circles(ROOT) == []


def test_a_protocol_library_is_imported_in_one_module_only() -> None:
    assert wrong_doors(ROOT) == []


def test_no_library_is_loaded_before_a_configured_component_needs_it() -> None:
    code = "import sys, bridge.assemble, bridge.cli.main, bridge.cli.run; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    # The spool, the service manager, and the judge of the sample events are there at every start.
    on_demand = set(LIBRARY_DOORS) - {"msgpack", "sdnotify", "cloudevents"}
    assert on_demand & set(loaded.stdout.split()) == set()


def test_help_loads_neither_asyncio_nor_pydantic() -> None:
    code = "import sys, bridge.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert {"asyncio", "pydantic"} & set(loaded.stdout.split()) == set()


def test_an_import_that_goes_up_is_found_also_inside_a_function(tmp_path: Path) -> None:
    write(tmp_path, {"bridge/event.py": "def f():\n    from bridge import ports\n", "bridge/ports.py": ""})
    assert broken_floors(tmp_path) == ["bridge.event (floor 0) imports bridge.ports (floor 1)"]


def test_an_import_between_rooms_that_are_strangers_is_found_also_when_relative(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "bridge/run/__init__.py": "",
            "bridge/run/health.py": "from ..host import journal\n",
            "bridge/host/__init__.py": "",
            "bridge/host/journal.py": "",
        },
    )
    assert "bridge.run.health (floor 4) imports bridge.host.journal (floor 4)" in broken_floors(tmp_path)


def test_a_module_without_a_floor_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"bridge/utils.py": ""})
    assert broken_floors(tmp_path) == ["bridge.utils has no floor"]


def test_a_circle_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"bridge/clock.py": "import bridge.hush\n", "bridge/hush.py": "from bridge.clock import x\n"})
    assert len(circles(tmp_path)) == 1


def test_a_second_door_and_an_unknown_library_are_found(tmp_path: Path) -> None:
    write(tmp_path, {"bridge/event.py": "import msgpack\nfrom requests import get\n"})
    assert wrong_doors(tmp_path) == [
        "bridge.event imports msgpack, whose door is bridge.spool.envelope",
        "requests has no door, but bridge.event imports it",
    ]
