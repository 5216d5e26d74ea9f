"""The JSON schema of a whole configuration, made from the models; editors complete and check with it."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from bridge.config.kinds import BUILT_IN, settings_class
from bridge.config.model import NAME, BridgeSettings, GatewaySettings
from bridge.settings import Settings, parse_duration, parse_size
from bridge.sinks.settings import SinkSettings
from bridge.sources.settings import SourceSettings
from bridge.spool.settings import DeadLetterSettings, LaneSettings, SpoolSettings

TABLES: Mapping[str, type[Settings]] = {
    "gateway": GatewaySettings,
    "bridge": BridgeSettings,
    "spool": SpoolSettings,
    "dead_letters": DeadLetterSettings,
}
"""The tables that exist once."""

NAMED: Mapping[str, type[Settings]] = {"lanes": LaneSettings}
"""The tables that exist any number of times, each with a name, without being of a kind."""

UNIT = "x-unit"
"""Marks numbers that may also be written as text with a unit: ``duration`` or ``size``."""


class Generator(GenerateJsonSchema):
    """JSON schema that knows durations and sizes, which may be written as numbers or as text."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """As the base, but for the two functions that read text with a unit."""
        inner = super().function_before_schema(schema)
        function = schema["function"]["function"]
        if function is parse_duration:
            return inner | {"type": ["number", "string"], UNIT: "duration"}
        if function is parse_size:
            return inner | {"type": ["integer", "string"], UNIT: "size"}
        return inner


def kinds_of(side: str) -> Mapping[str, type[Settings]]:
    """The settings class of every built-in kind of ``sources`` or ``sinks``."""
    base: type[Settings] = SourceSettings if side == "sources" else SinkSettings
    return {kind: settings_class(side, kind, base, side) for kind in BUILT_IN[side]}


def schema() -> dict[str, object]:
    """The schema of the whole file (JSON Schema 2020-12)."""
    sides = {side: kinds_of(side) for side in BUILT_IN}
    every: list[type[BaseModel]] = [
        *TABLES.values(),
        *NAMED.values(),
        *(one for side in sides.values() for one in side.values()),
    ]
    references, shared = models_json_schema(
        [(model, "validation") for model in every], schema_generator=Generator, ref_template="#/$defs/{model}"
    )
    definitions: dict[str, Any] = shared["$defs"]
    properties: dict[str, object] = {name: references[model, "validation"] for name, model in TABLES.items()}
    for side, models in sides.items():
        for model in models.values():
            # A kind has a default only so that the code can say what it is; in a file it is written.
            definition = definitions[model.__name__]
            definition["required"] = sorted({*definition.get("required", []), "kind"})
        properties[side] = _named({"oneOf": [references[model, "validation"] for model in models.values()]})
    for name, model in NAMED.items():
        properties[name] = _named(references[model, "validation"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edge-bridge configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _named(table: object) -> dict[str, object]:
    """Any number of tables, each under a name."""
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^{NAME.pattern.removesuffix(chr(92) + 'Z')}$"},
        "additionalProperties": table,
    }
