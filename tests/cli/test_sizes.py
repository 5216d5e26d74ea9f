import pytest

from bridge.cli.sizes import size


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3.0 TiB")],
)
def test_bytes_are_told_in_the_unit_that_fits(count: int, said: str) -> None:
    assert size(count) == said
