"""What stands in the tree: no registry's host, no path of one machine, a test beside each module, true pins."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path

from tests.house.tree import ROOT, modules, texts, write

# The brackets keep these patterns from finding themselves.
FORBIDDEN = {
    "the host of a package registry": re.compile(
        r"py[p]i\.o[r]g|python[h]osted|registry\.[n]pmjs|deb\.[d]ebian|proxy\.gol[a]ng", re.IGNORECASE
    ),
    "a path of one machine": re.compile(r"/w[o]rk/|/r[o]ot/|/hom[e]/(?!USER)"),
    "work left for later": re.compile(r"\b(T[O]DO|F[I]XME|X[X]X)\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KE[Y]-----"),
}

WITHOUT_TEST = {
    "bridge": "the version only",
    "bridge.__main__": "one line; every test of the running daemon starts it",
    "bridge.assemble": "one screen that joins the parts; every test of the running daemon goes through it",
    "bridge.errors": "a tree of names; tests/run holds what each of them makes the caller do",
    "bridge.ports": "promises only; the conformance kits hold them",
    "bridge.report": "facts without behaviour",
}
"""Modules without a test file of their own name, each with its reason."""

STANDS_IN = {
    "tests/sinks/test_amqp_exchange.py": {"bridge.sinks.amqp_delivery"},
    "tests/sinks/test_http_endpoint.py": {
        f"bridge.sinks.http_{room}" for room in ("answers", "delivery", "headers", "knock")
    },
    "tests/spool/test_spool.py": {"bridge.spool.ownership"},
    "tests/spool/test_room.py": {"bridge.spool.limits"},
    # A disk that fails or forgets shows only in all rooms of the spool together.
    "tests/spool/test_spool_model.py": {
        f"bridge.spool.{room}"
        for room in (
            "book", "committer", "cursor", "grouping", "journal", "layout", "log", "opening", "parts", "pending",
            "quarantine", "reading", "recovery", "retention", "shelf", "tail", "trouble",
        )
    },
}  # fmt: skip
"""Test files that hold the inner rooms of one component together."""

PACKED = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ; (.*?))? \\$")


def forbidden(root: Path) -> list[str]:
    found = []
    for path, text in texts(root):
        for number, line in enumerate(text.splitlines(), 1):
            found += [f"{path}:{number}: {what}" for what, pattern in FORBIDDEN.items() if pattern.search(line)]
    return found


def untested(root: Path) -> list[str]:
    """Modules with no test file at the place that mirrors theirs; a package's one file may stand for its rooms."""
    found = []
    for name, module in modules(root).items():
        parts = name.split(".")[1:]
        if module.is_package or name in WITHOUT_TEST or parts[-1] == "settings":
            continue
        mirrors = [root.joinpath("tests", *parts[:-1], f"test_{parts[-1]}.py")]
        if len(parts) > 1:
            mirrors.append(root.joinpath("tests", *parts[:-2], f"test_{parts[-2]}.py"))
        mirrors += [root / test for test, rooms in STANDS_IN.items() if name in rooms]
        if not any(mirror.exists() for mirror in mirrors):
            found.append(f"{name} has no {mirrors[0].relative_to(root)}")
    return found


def unpinned(root: Path) -> list[str]:
    """Dependencies of the project that a file of pins does not hold, and pins without a hash."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    wanted = {
        "build.txt": groups["build"],
        "runtime.txt": project["project"]["dependencies"],
        "tests.txt": project["project"]["dependencies"] + groups["tests"] + groups["lint"],
        "tools.txt": groups["tools"],
    }
    found = []
    for name, requirements in wanted.items():
        lines = (root / "requirements" / name).read_text(encoding="utf-8").splitlines()
        pinned = {match[1] for line in lines if (match := PACKED.match(line))}
        names = {re.split(r"[^A-Za-z0-9-]", requirement)[0].lower() for requirement in requirements}
        found += [f"{name} does not pin {missing}" for missing in sorted(names - pinned)]
        found += [
            f"{name}: {line.strip()} has no hash"
            for line, following in pairwise([*lines, ""])
            if "==" in line.split(" ; ")[0] and "--hash=sha256:" not in following
        ]
    return found


def test_nothing_that_may_not_be_published_stands_in_the_tree() -> None:
    assert forbidden(ROOT) == []


def test_every_module_has_a_test_file_of_its_name() -> None:
    assert untested(ROOT) == []


def test_every_dependency_is_pinned_by_hash() -> None:
    assert unpinned(ROOT) == []


def test_the_tests_run_with_the_versions_that_are_installed_for_use() -> None:
    def pins(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        return {f"{match[1]}=={match[2]}" for line in text.splitlines() if (match := PACKED.match(line))}

    assert pins("runtime.txt") - pins("tests.txt") == set()


def test_a_forbidden_word_is_found(tmp_path: Path) -> None:
    host = "py" + "pi.org"
    write(tmp_path, {"docs/a.md": f"fine\nsee https://{host}/simple\n", ".venv/b.txt": host})
    assert forbidden(tmp_path) == ["docs/a.md:2: the host of a package registry"]


def test_a_module_without_a_test_is_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "bridge/spool/record.py": "",
            "bridge/spool/log.py": "",
            "tests/spool/test_log.py": "",
            "bridge/cli/demo/device.py": "",
            "tests/cli/test_demo.py": "",
        },
    )
    assert untested(tmp_path) == ["bridge.spool.record has no tests/spool/test_record.py"]


def test_a_missing_pin_and_a_missing_hash_are_found(tmp_path: Path) -> None:
    project = (
        '[project]\ndependencies = ["one>=1", "two>=2"]\n'
        "[dependency-groups]\nbuild = []\ntests = []\nlint = []\ntools = []\n"
    )
    hashed = "one==1.0 \\\n    --hash=sha256:00\n"
    write(
        tmp_path,
        {
            "pyproject.toml": project,
            "requirements/build.txt": "",
            "requirements/runtime.txt": hashed,
            "requirements/tests.txt": hashed + "two==2.0\n",
            "requirements/tools.txt": "",
        },
    )
    assert unpinned(tmp_path) == [
        "runtime.txt does not pin two",
        "tests.txt does not pin two",
        "tests.txt: two==2.0 has no hash",
    ]
