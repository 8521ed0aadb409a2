"""The initial RAM disk: its archive, read back by hand."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from emulator.vm import first as vmfirst
from emulator.vm.first import first_program, insertions, write_first_disk
from netns.errors import LabError

SHOWN = """builtin virtio_pci
insmod /lib/modules/6.1/kernel/virtio_blk.ko.xz foo=1
insmod /lib/modules/6.1/kernel/ext4.ko
"""


def entries(archive: bytes) -> Iterator[tuple[str, int, bytes]]:
    """(name, mode, content) of a cpio archive of the form `newc`."""
    at = 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        name = archive[at + 110 : at + 110 + numbers[11] - 1].decode()
        begin = (at + 110 + numbers[11] + 3) // 4 * 4
        yield name, numbers[1], archive[begin : begin + numbers[6]]
        at = (begin + numbers[6] + 3) // 4 * 4


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder with a busybox and two modules; what would be asked there has been asked."""

    def output(argv: Sequence[str]) -> str:
        return SHOWN if argv[-1] == "ext4" else ""

    monkeypatch.setattr(vmfirst, "_output", output)
    modules = tmp_path / "lib/modules/6.1/kernel"
    modules.mkdir(parents=True)
    (modules / "virtio_blk.ko.xz").write_bytes(lzma.compress(b"a module"))
    (modules / "ext4.ko").write_bytes(b"another")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/busybox").write_bytes(b"busy")
    return tmp_path


def test_built_in_modules_are_not_loaded() -> None:
    assert insertions(SHOWN) == ["/lib/modules/6.1/kernel/virtio_blk.ko.xz", "/lib/modules/6.1/kernel/ext4.ko"]


def test_the_disk_has_busybox_the_first_program_and_unpacked_modules_in_order(root: Path) -> None:
    disk = root / "first.cpio.gz"
    write_first_disk(root, "6.1", disk)
    found = {name: (mode, content) for name, mode, content in entries(gzip.decompress(disk.read_bytes()))}
    assert list(found)[-1] == "TRAILER!!!"
    assert found["init"] == (0o100755, first_program())
    assert found["bin/busybox"][1] == b"busy"
    assert found["modules/order"][1] == b"virtio_blk.ko\next4.ko\n"
    assert found["modules/virtio_blk.ko"][1] == b"a module"
    assert found["modules/ext4.ko"][1] == b"another"
    assert found["new"] == (0o040755, b"")


def test_a_disk_is_the_same_at_any_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, now in (("one", 1e9), ("two", 2e9)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        write_first_disk(root, "6.1", root / name)
    assert (root / "one").read_bytes() == (root / "two").read_bytes()


def test_a_module_in_an_unknown_form_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = root / "lib/modules/6.1/kernel/ext4.ko"
    module.rename(module.with_name("ext4.ko.odd"))
    monkeypatch.setattr(vmfirst, "_output", lambda argv: SHOWN.replace("ext4.ko", "ext4.ko.odd"))
    with pytest.raises(LabError, match=r"ext4\.ko\.odd is compressed"):
        write_first_disk(root, "6.1", root / "disk")
