"""The JSON schema knows what the loader knows."""

from typing import Any

import pytest

from bridge.config.schema import kinds_of, schema
from bridge.sinks import KINDS as SINKS
from bridge.sources import KINDS as SOURCES


@pytest.fixture
def whole() -> Any:
    return schema()


def test_every_kind_is_in_the_schema(whole: Any) -> None:
    for side, known in (("sources", SOURCES), ("sinks", SINKS)):
        references = [one["$ref"] for one in whole["properties"][side]["additionalProperties"]["oneOf"]]
        models = [whole["$defs"][reference.removeprefix("#/$defs/")] for reference in references]
        assert [model["properties"]["kind"]["const"] for model in models] == list(known) == list(kinds_of(side))
        assert all("kind" in model["required"] for model in models)
        assert all(model["additionalProperties"] is False for model in models)


def test_durations_and_sizes_may_be_text(whole: Any) -> None:
    assert whole["$defs"]["BridgeSettings"]["properties"]["drain_timeout"]["type"] == ["number", "string"]
    assert whole["$defs"]["SpoolSettings"]["properties"]["max_bytes"]["type"] == ["integer", "string"]


def test_no_default_depends_on_the_machine(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "another-host")
    monkeypatch.setenv("STATE_DIRECTORY", "/somewhere")
    assert schema() == whole


def test_keys_that_nobody_knows_are_refused(whole: Any) -> None:
    assert whole["additionalProperties"] is False
    assert whole["properties"]["sinks"]["propertyNames"]["pattern"] == "^[a-z0-9][a-z0-9_-]{0,62}$"
