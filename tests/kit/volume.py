"""File systems of their own for tests, in a mount namespace of their own: nothing of them outlives the process.

``tmpfs`` needs no rights where user namespaces are allowed; ``ext4`` on a loop device needs root.
"""

import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024


@dataclass
class Volume:
    """A mounted file system.

    Attributes:
        path: where it is mounted.
        device: its block device, if it has one.
        image: the file behind the device.
    """

    path: Path
    device: Path | None = None
    image: Path | None = None

    def free_bytes(self) -> int:
        """What a program may still write."""
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def written(self) -> tuple[int, int]:
        """Bytes written to the device and flushes it was asked for, since it exists."""
        assert self.device is not None
        # Documentation/block/stat.rst: field 7 is sectors of 512 bytes written, field 16 is flush requests.
        fields = Path(f"/sys/block/{self.device.name}/stat").read_text(encoding="ascii").split()
        return int(fields[6]) * 512, int(fields[15])

    def sync(self) -> None:
        """Writes out what the file system still holds back."""
        _run("sync", "--file-system", self.path)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """For whoever comes by its path the volume is read-only, as long as this lasts.

        The kernel refuses to remount what a file is open for writing on, and the spool's lock always is. So a
        second, read-only mount of the same file system is laid over the first: every name opened from now on
        gives EROFS. What was open before can still be written, until the spool needs its next segment.
        """
        aside = self.path.with_name(self.path.name + ".aside")
        aside.mkdir(exist_ok=True)
        _run("mount", "--bind", self.path, aside)
        _run("mount", "-o", "remount,bind,ro", aside)
        _run("mount", "--move", aside, self.path)
        try:
            yield
        finally:
            # Readers have it open for a moment at a time.
            _run("umount", "--lazy", self.path)

    @contextmanager
    def failed(self) -> Iterator[None]:
        """The kernel finds an error and makes the file system read-only (ext4); at the end it is mended.

        Mounted with ``errors=remount-ro``, as cards are, it takes no writes until somebody checks it and mounts
        it again, which needs no stop of the program.
        """
        assert self.device is not None
        assert self.image is not None
        Path(f"/sys/fs/ext4/{self.device.name}/trigger_fs_error").write_text("seeded by a test", encoding="ascii")
        try:
            yield
        finally:
            _run("umount", "--lazy", self.path)
            # The failed one lives as long as somebody has a file of it open, so the image gets a new device.
            self.device = _attach(self.image)
            subprocess.run(["e2fsck", "-fy", str(self.device)], check=False, capture_output=True)
            _mount_device(self.device, self.path)

    @contextmanager
    def stuffed(self) -> Iterator[None]:
        """A foreign file takes all the space, and every byte that becomes free, as long as this lasts."""
        path = self.path / "foreign"
        enough = threading.Event()

        def eat() -> None:
            with path.open("wb", buffering=0) as file:
                while not enough.is_set():
                    with suppress(OSError):
                        while file.write(bytes(4096)):
                            pass
                    enough.wait(0.0005)

        eater = threading.Thread(target=eat)
        eater.start()
        try:
            yield
        finally:
            enough.set()
            eater.join()
            path.unlink()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Writing hangs, as on a card that collects its garbage, as long as this lasts."""
        _run("fsfreeze", "--freeze", self.path)
        try:
            yield
        finally:
            _run("fsfreeze", "--unfreeze", self.path)


def alone(command: Sequence[str | Path]) -> list[str]:
    """The same command in a mount namespace of its own, as root within it."""
    options = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    return ["unshare", *options, "--", *map(str, command)]


@contextmanager
def tmpfs(path: Path, size: int) -> Iterator[Volume]:
    """A file system in memory, mounted on ``path``."""
    path.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path)
    try:
        yield Volume(path)
    finally:
        _run("umount", "--lazy", path)


@contextmanager
def ext4(path: Path, size: int) -> Iterator[Volume]:
    """An ext4 as ``mkfs`` makes it by itself, on a loop device, mounted on ``path``."""
    path.mkdir(parents=True)
    image = path.with_name(path.name + ".img")
    with image.open("wb") as file:
        file.truncate(size)
    # Blocks as on any larger card; no lazy parts, so that the kernel does not write on its own account meanwhile.
    _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
    device = _attach(image)
    _mount_device(device, path)
    try:
        yield Volume(path, device, image)
    finally:
        _run("umount", "--lazy", path)
        image.unlink()


def _attach(image: Path) -> Path:
    return Path(_run("losetup", "--find", "--show", image).strip())


def _mount_device(device: Path, path: Path) -> None:
    try:
        _run("mount", "-t", "ext4", "-o", "errors=remount-ro", device, path)
    finally:
        # From now on it goes with its last user.
        _run("losetup", "--detach", device)


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.returncode}")
    return done.stdout
