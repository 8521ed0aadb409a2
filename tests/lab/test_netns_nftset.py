"""Elements of nftables sets, changed by netlink and read back by nft."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from netns.errors import KernelRefused
from netns.lab import Lab
from netns.namespace import Namespace
from netns.nftset import ELEMENTS_MOST, SetElements, concatenated

TABLE = "table netdev t {\nset s { typeof ip saddr . tcp sport\nsize 65536\nflags dynamic\n}\n}\n"


@pytest.fixture
def host() -> Iterator[Namespace]:
    with Lab() as lab:
        made = lab.namespace("host")
        made.run(["nft", "-f", "-"], input=TABLE)
        yield made


@pytest.fixture
def elements(host: Namespace) -> Iterator[SetElements]:
    made = SetElements(host, "t")
    yield made
    made.close()


def key(number: int) -> bytes:
    return concatenated(bytes((10, 0, number >> 8, number & 255)), number.to_bytes(2, "big"))


def listed(host: Namespace) -> set[str]:
    return set(re.findall(r"10\.0\.\d+\.\d+ \. \d+", host.run(["nft", "-n", "list", "set", "netdev", "t", "s"]).stdout))


def test_elements_are_added_and_deleted(host: Namespace, elements: SetElements) -> None:
    elements.add("s", [key(1), key(2), key(3)])
    elements.add("s", [key(3)])
    assert listed(host) == {"10.0.0.1 . 1", "10.0.0.2 . 2", "10.0.0.3 . 3"}
    elements.delete("s", [key(1), key(3)])
    assert listed(host) == {"10.0.0.2 . 2"}


def test_one_that_is_not_there_does_not_keep_the_others(host: Namespace, elements: SetElements) -> None:
    elements.add("s", [key(1), key(2)])
    elements.delete("s", [key(1), key(9), key(2)])
    assert listed(host) == set()
    elements.delete("s", [key(9)])


def test_many_at_once(host: Namespace, elements: SetElements) -> None:
    many = [key(number) for number in range(1, 2 * ELEMENTS_MOST + 100)]
    elements.add("s", many)
    assert len(listed(host)) == len(many)
    elements.delete("s", many)
    assert listed(host) == set()


def test_a_set_that_is_not_there_is_refused(elements: SetElements) -> None:
    with pytest.raises(KernelRefused):
        elements.add("other", [b"1234"])
    with pytest.raises(KernelRefused):
        elements.add("s", [b"too short for this set, or too long"])
