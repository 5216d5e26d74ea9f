"""Configuration files are read whole or named with the place of their mistake."""

from pathlib import Path

import pytest

from bridge.config.files import dotted, files_of, read_all


def read(directory: Path, *texts: str | bytes) -> tuple[dict[str, object], dict[str, str]]:
    paths = []
    for number, text in enumerate(texts):
        path = directory / f"{number}.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        paths.append(path)
    tree, problems = read_all(tuple(paths))
    return tree, {problem.path.replace(str(directory), "."): problem.message for problem in problems}


def test_tables_of_several_files_are_merged(tmp_path: Path) -> None:
    assert read(tmp_path, "[a.b]\nc = 1", "[a.b]\nd = 2\n[a.e]", "f = []") == (
        {"a": {"b": {"c": 1, "d": 2}, "e": {}}, "f": []},
        {},
    )


@pytest.mark.parametrize("second", ["a.b = 2", "a = 3", "[a.b]", "[[a]]"])
def test_a_key_given_twice_names_both_files(tmp_path: Path, second: str) -> None:
    tree, problems = read(tmp_path, "a.b = 1", second)
    assert tree == {"a": {"b": 1}}
    ((path, message),) = problems.items()
    assert path in {"a", "a.b"}
    assert message == f"is given twice, in {tmp_path}/0.toml and in {tmp_path}/1.toml"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (
            "a = 1\nb = on",
            "./0.toml, line 2, column 5",
            "is not TOML: Invalid value; text must be written in quotes",
        ),
        ("a = [1,", "./0.toml, line 1", "is not TOML: Invalid value at the end of the file"),
        ("a = 1\na = 2", "./0.toml, line 2", "is not TOML: Cannot overwrite a value"),
        ('a = "C:\\x"', "./0.toml, line 1", "single quotes"),
        (b"a = 1\n\nb = '\xe4'", "./0.toml, line 3", "is not UTF-8 text; save the file as UTF-8"),
        ("a = " + "[" * 5000, "./0.toml", "is nested too deeply"),
        ("a." * 40 + "b = 1", "./0.toml", "is nested more than 16 tables deep"),
        ("a = 1" + "0" * 5000, "./0.toml", "is not TOML: Exceeds the limit"),
        (" " * (1 << 20) + "\n", "./0.toml", "is larger than 1048576 bytes; that is no configuration"),
    ],
)
def test_what_is_no_configuration_is_named_with_its_place(
    tmp_path: Path, text: str | bytes, path: str, message: str
) -> None:
    tree, problems = read(tmp_path, text)
    assert tree == {}
    ((at, said),) = problems.items()
    assert at.startswith(path)
    assert message in said


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfa = 1") == ({"a": 1}, {})


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    _, (problem,) = read_all((tmp_path / "no.toml",))
    assert "edge-bridge sample >" in problem.message


def test_a_directory_in_place_of_a_file_is_said(tmp_path: Path) -> None:
    _, (problem,) = read_all((tmp_path,))
    assert problem.message == "cannot be read: Is a directory"


def test_every_file_is_looked_at_although_one_is_broken(tmp_path: Path) -> None:
    tree, problems = read(tmp_path, "=", "a = 1", "=")
    assert tree == {"a": 1}
    assert len(problems) == 2


def test_conf_d_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    for name in ("b.toml", "a.toml", "c.txt"):
        (tmp_path / "conf.d" / name).touch()
    assert [path.name for path in files_of(tmp_path / "config.toml")] == ["config.toml", "a.toml", "b.toml"]


def test_hidden_files_of_editors_in_conf_d_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.toml").write_text("")
    (folder / ".a.toml").write_text("half a li")
    (folder / ".#a.toml").symlink_to("somebody@somewhere.4711")
    assert files_of(tmp_path / "config.toml") == (tmp_path / "config.toml", folder / "a.toml")


def test_a_conf_d_that_cannot_be_looked_into_is_a_mistake(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.symlink_to(folder)
    (tmp_path / "config.toml").touch()
    _, problems = read_all(files_of(tmp_path / "config.toml"))
    assert [problem.path for problem in problems] == [str(folder)]
    assert "cannot be read" in problems[0].message


def test_a_file_in_place_of_conf_d_is_none(tmp_path: Path) -> None:
    (tmp_path / "conf.d").touch()
    assert files_of(tmp_path / "config.toml") == (tmp_path / "config.toml",)


def test_paths_are_written_as_in_the_file() -> None:
    assert dotted(("sinks", "my cloud", 'a"b', "topics", 1)) == 'sinks."my cloud"."a\\"b".topics[1]'
    assert dotted(("",)) == '""'
