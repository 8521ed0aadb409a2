"""The table of kernels."""

from __future__ import annotations

import pytest

from emulator.vm.kernels import DEFAULT, KERNELS, UnknownKernel, kernels_named


def test_without_a_name_it_is_the_distributions_stable_one() -> None:
    assert kernels_named(()) == [DEFAULT]
    assert not DEFAULT.backports


def test_kernels_come_in_the_order_asked_for_and_once() -> None:
    names = ["trixie", "bookworm", "trixie"]
    assert [kernel.name for kernel in kernels_named(names)] == ["trixie", "bookworm"]
    assert kernels_named(["all"]) == list(KERNELS)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownKernel, match=r"no kernel potato; there are bookworm, "):
        kernels_named(["bookworm", "potato"])


def test_only_the_kernel_is_from_backports() -> None:
    [stable] = kernels_named(["trixie"])
    [newest] = kernels_named(["trixie-backports"])
    assert stable.requested == "linux-image-cloud-amd64"
    assert newest.requested == "linux-image-cloud-amd64/trixie-backports"
    assert newest.sources()[:-1] == stable.sources()
    assert newest.sources()[-1].endswith("/debian trixie-backports main")


def test_every_package_is_signed() -> None:
    assert all("[signed-by=/" in line for kernel in KERNELS for line in kernel.sources())
