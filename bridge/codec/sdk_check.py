"""A second opinion on our events: what the CloudEvents SDK for Python reads of them.

Only ``check`` asks for it. The hot path never does: reading one event takes the SDK longer than the bridge
needs for all of it.
"""

import json
from collections.abc import Iterator
from datetime import datetime

from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from bridge.event import Event
from bridge.wire.json_format import encode


def verify(event: Event) -> None:
    """Returns when the SDK reads the structured JSON form of ``event`` back equal.

    The data of ``event`` is to be JSON.

    Raises:
        ValueError: the SDK refuses the event or reads something else; the message says what.
    """
    try:
        read = JSONFormat().read(CloudEvent, encode(event))
    except CloudEventValidationError as error:
        raise ValueError(f"the CloudEvents SDK refuses the event: {error}") from error
    except ValueError as error:
        raise ValueError(f"the CloudEvents SDK cannot read the event: {error}") from error
    differences = list(_differences(event, read.get_attributes(), read.get_data()))
    if differences:
        raise ValueError("the CloudEvents SDK reads another event: " + "; ".join(differences))


def _differences(event: Event, attributes: dict[str, object], data: object) -> Iterator[str]:
    ours = dict(event.attributes())
    for name in ours.keys() | attributes.keys():
        expected: object = ours.get(name)
        if name == "time" and isinstance(expected, str):
            expected = datetime.fromisoformat(expected)
        if attributes.get(name) != expected:
            yield f"{name} is {attributes.get(name)!r} instead of {expected!r}"
    expected_data = None if event.data is None else json.loads(event.data)
    if data != expected_data:
        yield f"the data is {data!r} instead of {expected_data!r}"
