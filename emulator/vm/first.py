"""The initial RAM disk of a guest: busybox, the modules that reach the disks, and `guest/first.sh`."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from netns.errors import LabError, ProgramFailed
from netns.process import find_program

MODULES = ("virtio_pci", "virtio_blk", "ext4")
FOLDERS = ("dev", "proc", "new", "bin", "modules")
TYPE_FOLDER, TYPE_FILE = 0o040000, 0o100000
LAST = "TRAILER!!!"


def write_first_disk(root: Path, release: str, disk: Path) -> None:
    """Write the RAM disk for kernel `release`, from what is installed below `root`, to `disk`.

    Raises ProgramFailed, MissingFeature, and LabError for a module compressed in an unknown way.
    """
    modules = [root / path.lstrip("/") for path in _needed_modules(root, release)]
    names = [path.name.partition(".ko")[0] + ".ko" for path in modules]
    entries = [_entry(number, name, TYPE_FOLDER | 0o755, b"") for number, name in enumerate(FOLDERS, 1)]
    contents = {
        "bin/busybox": (root / "bin/busybox").read_bytes(),
        "init": first_program(),
        "modules/order": "".join(f"{name}\n" for name in names).encode(),
        **{f"modules/{name}": _unpacked(path) for name, path in zip(names, modules, strict=True)},
    }
    for number, (name, content) in enumerate(contents.items(), len(entries) + 1):
        entries.append(_entry(number, name, TYPE_FILE | 0o755, content))
    entries.append(_entry(0, LAST, 0, b""))
    disk.write_bytes(gzip.compress(b"".join(entries), 1, mtime=0))


def first_program() -> bytes:
    """The guest's first program, a script for busybox."""
    return files("emulator.vm").joinpath("boot/first.sh").read_bytes()


def insertions(shown: str) -> list[str]:
    """The files that `modprobe --show-depends` says are to be loaded, in order; built-in ones are not."""
    lines = (line.split() for line in shown.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "insmod"]


def _needed_modules(root: Path, release: str) -> list[str]:
    chroot = [find_program("chroot"), str(root)]
    _output([*chroot, "depmod", release])
    needed: dict[str, None] = {}
    for module in MODULES:
        shown = _output([*chroot, "modprobe", "-S", release, "--show-depends", module])
        needed |= dict.fromkeys(insertions(shown))
    return list(needed)


def _output(argv: Sequence[str]) -> str:
    ran = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ProgramFailed(argv, ran.returncode, ran.stderr)
    return ran.stdout


def _unpacked(module: Path) -> bytes:
    octets = module.read_bytes()
    if module.suffix == ".xz":
        return lzma.decompress(octets)
    if module.suffix == ".gz":
        return gzip.decompress(octets)
    if module.suffix != ".ko":
        raise LabError(f"kernel module {module.name} is compressed in a way that is not known here")
    return octets


def _entry(number: int, name: str, mode: int, content: bytes) -> bytes:
    """One entry of a cpio archive of the form `newc`: thirteen numbers of eight hexadecimal digits, name, content."""
    encoded = name.encode() + b"\0"
    numbers = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % value for value in numbers) + encoded
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
