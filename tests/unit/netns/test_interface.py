"""Addresses of a device are usable when they were added, though the kernel sees to IPv6 later."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from netns import interface
from netns.errors import KernelRefused
from netns.interface import IFF_LOWER_UP, IFF_UP, Interface
from netns.routelookup import RTN_LOCAL, RTN_UNICAST

RUNS = IFF_UP | IFF_LOWER_UP


class Device:
    """A namespace with one device, whose kernel answers as it is told."""

    name = "host"

    def __init__(self, kinds: Iterator[int | None], flags: int) -> None:
        self.kinds = kinds
        self.flags = flags
        self.asked: list[bytes] = []

    def index_of(self, name: str) -> int:
        return 7

    def netlink(self, visit: Any) -> Any:
        return visit(SimpleNamespace(addr=lambda *_, **__: None, get_links=lambda index: [{"flags": self.flags}]))

    def find(self, destination: bytes, *, interface: int) -> object:
        assert interface == 7
        self.asked.append(destination)
        kind = next(self.kinds)
        return None if kind is None else SimpleNamespace(kind=kind)

    def close(self) -> None:
        self.asked.append(b"closed")


def asked(kinds: Iterator[int | None], *addresses: str, flags: int = RUNS, patch: pytest.MonkeyPatch) -> list[bytes]:
    """The addresses that were looked up, in order, each as its last octet."""
    device = Device(kinds, flags)
    patch.setattr(interface, "RouteLookup", lambda namespace: device)
    Interface(device, "eth0").add_addresses(*addresses)  # type: ignore[arg-type]
    return [octets[-1:] for octets in device.asked]


def test_each_is_asked_for_until_the_host_receives_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([None, RTN_UNICAST, RTN_LOCAL, RTN_UNICAST, RTN_LOCAL])
    found = asked(answers, "2001:db8::1/64", "192.0.2.1/24", "2001:db8::2/64", patch=monkeypatch)
    assert found == [b"\1", b"\1", b"\1", b"\2", b"\2", b"d"]


def test_nothing_is_asked_for_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(iter([]), "192.0.2.1/24", patch=monkeypatch) == []


@pytest.mark.parametrize("flags", [0, IFF_UP, IFF_LOWER_UP])
def test_a_device_that_does_not_run_is_not_waited_for(flags: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(itertools.repeat(RTN_UNICAST), "2001:db8::1/64", flags=flags, patch=monkeypatch)
    assert found == [b"\1", b"d"]


def test_one_that_never_works_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    with pytest.raises(KernelRefused, match="receiving for 2001:db8::1/64 at eth0 in host: ETIMEDOUT"):
        asked(itertools.repeat(None), "2001:db8::1/64", patch=monkeypatch)
