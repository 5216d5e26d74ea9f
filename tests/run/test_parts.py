"""What the configuration makes of a sink: which lanes it takes."""

from bridge.run.parts import SinkPart
from tests.run.test_bridge import Cloud


def test_a_sink_takes_all_lanes_or_those_that_it_names() -> None:
    assert SinkPart("cloud", "test", Cloud()).takes("anything")
    some = SinkPart("cloud", "test", Cloud(), lanes=("alarms",))
    assert (some.takes("alarms"), some.takes("default")) == (True, False)
