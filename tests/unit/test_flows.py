"""Flows: begun, found, ended, expired."""

from __future__ import annotations

import pytest

from emulator.flows import IDLE_LIMIT, Calendar, Flow, FlowKey, FlowTable

UDP = FlowKey(17, b"\x0a\0\0\1", 5000, b"\x0a\0\0\2", 53)
TCP = UDP._replace(protocol=6)
ICMP = UDP._replace(protocol=1, local_port=8, remote_port=77)


@pytest.fixture
def ended() -> list[Flow]:
    return []


@pytest.fixture
def table(ended: list[Flow]) -> FlowTable:
    return FlowTable(ended.append)


@pytest.mark.rule("FL-7", "FL-8")
def test_a_flow_is_found_by_its_ends_and_by_its_number(table: FlowTable) -> None:
    flows = [table.begin(key, outbound=key is UDP, now=0) for key in (UDP, TCP, ICMP)]
    assert [table.find(flow.key) for flow in flows] == [table.number(flow.number) for flow in flows] == flows
    assert len({flow.number for flow in flows} | {0}) == 4
    assert [flow.outbound for flow in flows] == [True, False, False]
    assert list(table) == flows
    assert len(table) == 3
    for other in (UDP._replace(local_port=1), UDP._replace(remote_port=1), UDP._replace(remote_address=b"\0" * 16)):
        assert table.find(other) is None
    assert repr(flows[0]) == "<flow 1 protocol 17>"


@pytest.mark.rule("FL-5")
def test_a_flow_ends_once(table: FlowTable, ended: list[Flow]) -> None:
    flow = table.begin(UDP, outbound=True, now=0)
    table.end(flow)
    table.end(flow)
    assert ended == [flow]
    assert flow.ended
    assert (table.find(UDP), table.number(flow.number), len(table)) == (None, None, 0)


@pytest.mark.rule("FL-8")
def test_a_new_flow_between_the_same_ends_is_another_one(table: FlowTable, ended: list[Flow]) -> None:
    old = table.begin(UDP, outbound=True, now=0)
    new = table.begin(UDP, outbound=False, now=1)
    assert ended == [old]
    assert old.number != new.number
    assert table.find(UDP) is new
    table.end(old)
    assert table.find(UDP) is new


@pytest.mark.rule("FL-7")
def test_idle_flows_end_unless_they_are_tcp(table: FlowTable, ended: list[Flow]) -> None:
    udp, tcp, icmp = (table.begin(key, outbound=True, now=100.0) for key in (UDP, TCP, ICMP))
    table.expire(100.0 + IDLE_LIMIT - 0.1)
    assert ended == []
    icmp.last_seen = 130.0
    table.expire(100.0 + IDLE_LIMIT)
    assert ended == [udp]
    table.expire(130.0 + IDLE_LIMIT)
    assert ended == [udp, icmp]
    assert list(table) == [tcp]


@pytest.mark.rule("FL-7")
def test_udp_state_lasts_a_minute() -> None:
    assert IDLE_LIMIT == 60.0


def test_a_calendar_gives_what_is_due_once_and_the_rest_later() -> None:
    calendar: Calendar[str] = Calendar()
    for when in (3.5, 10.0, 3.0):
        calendar.add(str(when), when)
    assert calendar.due(2.9) == []
    assert calendar.due(9.0) == ["3.5", "3.0"]
    assert calendar.due(9.0) == []
    calendar.add("8.0", 8.0)
    assert calendar.due(11.0) == ["8.0", "10.0"]


@pytest.mark.rule("FL-7")
def test_an_idle_flow_that_is_kept_ends_when_it_is_no_longer(table: FlowTable, ended: list[Flow]) -> None:
    flow = table.begin(UDP, outbound=True, now=0.0)
    flow.kept = True
    table.expire(IDLE_LIMIT)
    assert ended == []
    flow.kept = False
    table.expire(2 * IDLE_LIMIT)
    assert ended == [flow]
