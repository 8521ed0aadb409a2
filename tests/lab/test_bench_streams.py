"""The stream rows of `wfplab bench`: every way carries its octets, and a wrong octet or a wrong way is noticed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from emulator.bench import streams
from emulator.bench.place import Place
from emulator.bench.programs import Programs

pytestmark = pytest.mark.host_only("belongs to what measures rates, which emulation makes meaningless")

BLOCKS = 25


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Programs() as programs, Place(programs) as made:
        yield made


@pytest.mark.parametrize("name", ["UNMATCHED", "PASSED", "PERMITTED", "REPLACED", "DENSELY"])
def test_every_octet_arrives_by_the_way_that_is_measured(place: Place, name: str) -> None:
    reading = streams.ours(place, getattr(streams, name), BLOCKS)
    assert reading.value > 0
    assert reading.loss == 0
    assert reading.closed


def test_octets_that_go_another_way_do_not_count(place: Place) -> None:
    passed = streams.PASSED
    pretended = streams.Way(passed.callout, counted="octets_copied")
    assert not streams.ours(place, pretended, BLOCKS).closed
    assert not streams.ours(place, streams.Way(streams.PERMITTED.callout, counted=""), BLOCKS).closed


def test_a_wrong_octet_is_a_loss(place: Place) -> None:
    assert streams.carried(place, BLOCKS).loss == 0
    assert streams.carried(place, BLOCKS, ("cloudy", "clouds")).loss == 1
    assert streams.carried(place, BLOCKS, ("cloudy", "sunny")).loss == 1


@pytest.mark.parametrize("peer", ["haproxy", "socat"])
def test_the_peers_carry_it_too_and_leave_nothing_behind(place: Place, peer: str) -> None:
    if shutil.which(peer, path="/usr/sbin:/usr/bin") is None:
        pytest.skip(f"{peer} is not installed")
    for _ in range(2):
        reading = getattr(streams, f"through_{peer}")(place, BLOCKS)
        assert (reading.loss, reading.value > 0) == (0, True)
    assert "bench" not in place.router.run(["nft", "list", "tables"]).stdout
    assert "fwmark" not in place.router.run(["ip", "rule"]).stdout
