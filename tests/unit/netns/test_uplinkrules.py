"""The rules of an uplink as text."""

from __future__ import annotations

import pytest

from netns.uplinkrules import (
    HOST_SIDE_MAC,
    RELEASED_MAC,
    Lift,
    chosen_text,
    host_text,
    key_of,
    splice_text,
)


def test_a_lift_without_conditions_chooses_the_hosts_own_connections_both_ways() -> None:
    lines = chosen_text("t", [Lift(version=4)], ["10.0.0.1", "fd00::1"]).splitlines()
    assert lines == [
        "flush chain netdev t chosen-out",
        "flush chain netdev t chosen-in",
        "flush set netdev t own4",
        "add element netdev t own4 { 10.0.0.1 }",
        "flush set netdev t own6",
        "add element netdev t own6 { fd00::1 }",
        "add rule netdev t chosen-out ip protocol tcp ip saddr @own4 "
        "add @lifted4 { ip saddr . tcp sport . ip daddr . tcp dport }",
        "add rule netdev t chosen-in ip protocol tcp ip daddr @own4 "
        "add @lifted4 { ip daddr . tcp dport . ip saddr . tcp sport }",
    ]


def test_conditions_are_turned_round_for_what_comes_in() -> None:
    lift = Lift(version=6, remote="fd00::/64", local_ports=(80, 90), remote_ports=(5, 5))
    out, into = chosen_text("t", [lift], []).splitlines()[4:]
    assert "ip6 nexthdr tcp ip6 saddr @own6 ip6 daddr fd00::/64 tcp sport 80-90 tcp dport 5 add @lifted6" in out
    assert "ip6 nexthdr tcp ip6 daddr @own6 ip6 saddr fd00::/64 tcp dport 80-90 tcp sport 5 add @lifted6" in into


@pytest.mark.parametrize(("outbound", "chain"), [(True, "chosen-out"), (False, "chosen-in")])
def test_a_lift_for_one_opener_stands_in_one_chain(outbound: bool, chain: str) -> None:
    rules = chosen_text("t", [Lift(version=4, outbound=outbound)], []).splitlines()[4:]
    assert [rule.split()[4] for rule in rules] == [chain]


def test_a_connection_is_found_in_its_set_by_its_ends() -> None:
    assert key_of(("10.0.0.1", 0x1234, "10.0.0.2", 80)) == (
        "lifted4", bytes((10, 0, 0, 1, 0x12, 0x34, 0, 0, 10, 0, 0, 2, 0, 80, 0, 0))
    )  # fmt: skip
    name, key = key_of(("fd00::1", 1, "fd00::2", 2))
    assert (name, len(key)) == ("lifted6", 40)
    assert (key[15], key[17], key[35], key[37]) == (1, 1, 2, 2)


def test_the_hosts_table_lets_pass_what_comes_back_before_it_lifts() -> None:
    lines = host_text("t", "eth0", "h", "w").splitlines()
    out, into = (next(n for n, line in enumerate(lines) if line.startswith(f"chain {way} ")) for way in ("out", "in"))
    assert "meta mark set 0 accept" in lines[out + 1]
    assert lines[into + 1] == f"ether saddr {HOST_SIDE_MAC} accept"
    assert any(line.endswith('fwd to "h"') for line in lines[out:into])
    assert any(line.endswith('fwd to "w"') for line in lines[into:])


def test_in_the_splice_namespace_only_released_syns_go_on() -> None:
    text = splice_text(["a", "b"])
    assert 'devices = { "a", "b" }' in text
    assert f"ether saddr != {RELEASED_MAC} drop" in text
    assert text.index("socket transparent") < text.rindex("drop")


@pytest.mark.parametrize(
    "wrong", [{"local": "fd00::1"}, {"remote": "fd00::/8"}, {"local_ports": (5, 4)}, {"remote_ports": (0, 65536)}]
)
def test_a_lift_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not"):
        Lift(version=4, **wrong)  # type: ignore[arg-type]
