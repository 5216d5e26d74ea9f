"""Numbers of bytes for people."""


def size(count: float) -> str:
    """A number of bytes: ``512 B``, ``4.0 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def counted(count: int, noun: str) -> str:
    """A number of things: ``1 letter``, ``1,200 letters``."""
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def safe(text: str) -> str:
    """Text that others wrote, with nothing in it that a terminal obeys."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
