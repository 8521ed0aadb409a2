"""A trace is written and read back without loss; what is no trace is refused with its line."""

from __future__ import annotations

import json
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as some

from emulator.evidence import traceevents as event
from emulator.evidence.traceevents import EVENTS, LINE_OCTETS, AnyEvent, BadTrace, TraceWriter, read, read_file
from tests.unit.tracing import cloned_and_injected

HOSTILE = "</script>\x00\x1b[2J\u202e\ud7ff\U000e0041 \"'\\\n"


def written(*events: AnyEvent) -> bytes:
    out = BytesIO()
    writer = TraceWriter(out)
    for item in events:
        writer.write(item)
    return out.getvalue()


def whole(*events: AnyEvent) -> bytes:
    return written(event.Run(time=1, format=event.FORMAT), *events, event.Summary(time=2))


def test_every_kind_of_event_comes_back_as_it_was() -> None:
    given_: list[AnyEvent] = [
        event.Bed(time=1, scenario=HOSTILE, hosts=[event.Place(name="a", interfaces={"1": "lo"})], links=[["a", "x"]]),
        event.Inject(time=2, injection=1, handle=2, function=HOSTILE, packets=[bytes(range(256)), b""]),
        event.Verdict(time=3, hook="INPUT", outcome="passed", octets=b"\xff\x00"),
        event.Verdict(time=3, hook="INPUT", outcome="passed", octets=b""),
        event.Ended(time=4, books={"host": {"offered": 1}}, left_out={"wire": 3}),
        *cloned_and_injected().events(),
    ]
    assert list(read_file(BytesIO(whole(*given_))))[1:-1] == given_


def test_each_event_is_one_line_of_json_with_its_number() -> None:
    lines = whole(event.Violation(time=5, rule="NB-9", message=HOSTILE)).splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3]
    assert [json.loads(line)["event"] for line in lines] == ["run", "violation", "summary"]


def test_kinds_are_distinct() -> None:
    assert len({kind.__struct_config__.tag for kind in EVENTS}) == len(EVENTS)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "object"),
        (b'{"event":"nothing","time":1}', "nothing"),
        (b'{"event":"loss","time":1}', "cause"),
        (b'{"event":"loss","time":1,"cause":"x","packets":-1}', ">= 0"),
        (b'{"event":"loss","time":1,"cause":"x","packets":"1"}', "int"),
        (b'{"event":"loss","time":1.5,"cause":"x","packets":1}', "int"),
        (b'{"event":"loss","time":99999999999999999999,"cause":"x","packets":1}', "int"),
        (b'{"event":"loss","time":1,"cause":"x","packets":1,"more":2}', "more"),
        (b'{"event":"send","time":1,"octets":"!!"}', "base64"),
        (b'{"event":"loss","time":1,"cause":"\xff","packets":1}', ""),
        (b'{"event":"loss","time":1,"cause":"' + b"x" * 5000 + b'","packets":1}', "4096"),
        (b'{"event":"bed","time":1,"links":' + b"[" * 100_000, ""),
        (b'{"event":"loss","time":1}{"event":"loss"', ""),
    ],
)
def test_what_does_not_fit_is_refused_with_its_line(line: bytes, why: str) -> None:
    with pytest.raises(BadTrace, match=f"line 2: .*{why}"):
        list(read([written(event.Loss(time=1, cause="x", packets=1)), line]))


def test_a_line_that_is_too_long_is_not_read() -> None:
    with pytest.raises(BadTrace, match="longer"):
        list(read([b" " * (LINE_OCTETS + 1)]))
    with pytest.raises(BadTrace, match="line 1"):
        list(read_file(BytesIO(b"x" * (3 * LINE_OCTETS))))


def test_a_trace_without_beginning_or_end_is_none() -> None:
    loss = event.Loss(time=1, cause="x", packets=1)
    with pytest.raises(BadTrace, match="begins with its run"):
        list(read_file(BytesIO(written(loss))))
    complete = whole(loss)
    with pytest.raises(BadTrace, match="breaks off"):
        list(read_file(BytesIO(complete[: complete.rindex(b'{"event":"summary"')])))
    with pytest.raises(BadTrace, match="line 3"):
        list(read_file(BytesIO(complete[:-5])))
    with pytest.raises(BadTrace, match="breaks off"):
        list(read_file(BytesIO(b"")))


def test_a_trace_of_another_format_is_refused() -> None:
    with pytest.raises(BadTrace, match="format 2"):
        list(read_file(BytesIO(written(event.Run(time=1, format=2)))))


@given(some.lists(some.binary(max_size=200), max_size=5))
def test_no_octets_whatever_raise_anything_else(lines: list[bytes]) -> None:
    with suppress(BadTrace):
        list(read(lines))


@given(some.text(max_size=50), some.binary(max_size=50))
def test_any_text_and_any_octets_come_back(text: str, octets: bytes) -> None:
    lines = written(event.Send(time=1, way=text, octets=octets)).splitlines()
    (seen,) = read(lines)
    assert isinstance(seen, event.Send)
    assert (seen.way, seen.octets) == (text, octets)
