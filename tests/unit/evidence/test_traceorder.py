"""Two traces of one seed tell the same, whatever the clock and the kernel did meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from emulator.evidence import traceevents as event
from emulator.evidence.tracecommand import Choice, run
from emulator.evidence.traceevents import AnyEvent, TraceWriter
from emulator.evidence.traceorder import differences, stories
from emulator.headers import build_ip_header
from emulator.octets import ICMPV6, UDP

V6 = bytes(15) + b"\1", bytes(15) + b"\2"


def datagram(source_port: int, port: int = 5000) -> bytes:
    ports = source_port.to_bytes(2) + port.to_bytes(2)
    return build_ip_header(6, *V6, UDP, ports + b"\0\x0c\0\0data")


def passing(number: int, octets: bytes, *, time: int = 5, status: str = "SUCCESS") -> Iterator[AnyEvent]:
    """What a trace tells of one packet that is cloned and injected."""
    at = {"time": time, "bed": 1, "host": "host"}
    yield event.Arrival(hook="OUTPUT", octets=octets, packet=number, **at)  # type: ignore[arg-type]
    yield event.Inject(injection=number, handle=1, function="Send", packet=number, **at)  # type: ignore[arg-type]
    yield event.Verdict(hook="OUTPUT", outcome="absorbed", packet=number, **at)  # type: ignore[arg-type]
    yield event.Complete(injection=number, handle=1, status=status, **at)  # type: ignore[arg-type]


def test_times_ports_and_numbers_make_no_difference() -> None:
    one = stories([*passing(1, datagram(40001)), *passing(2, datagram(40001))])
    other = stories([*passing(8, datagram(51234), time=9), *passing(9, datagram(51234), time=10)])
    assert differences(one, other) == []
    assert len(one) == 4


def test_what_is_under_way_at_one_time_may_overtake() -> None:
    first, second = list(passing(1, datagram(40001))), list(passing(2, datagram(40001, 5001)))
    assert differences(stories([*first, *second]), stories([first[0], *second, *first[1:]])) == []


def test_what_the_kernel_says_by_itself_is_left_out() -> None:
    neighbour = build_ip_header(6, *V6, ICMPV6, bytes((135, 0)) + bytes(22))
    noise = [event.Arrival(time=1, bed=1, host="host", hook="INPUT", octets=neighbour, packet=1)]
    packets = list(passing(2, datagram(40001)))
    assert differences(stories([*noise, *packets]), stories(packets)) == []


def test_another_status_another_outcome_and_another_packet_are_told() -> None:
    one = stories(passing(1, datagram(40001)))
    (told,) = differences(one, stories(passing(1, datagram(40001), status="CANCELLED")))
    assert told == (
        "bed 1, host, handle 1, injection 1, step 2: complete handle=1 status=SUCCESS, "
        "and then complete handle=1 status=CANCELLED"
    )
    both = stories([*passing(1, datagram(40001)), *passing(2, datagram(40001))])
    assert [line.partition(",")[2] for line in differences(one, both)] == [
        " protocol 17 5000 2, step 1: nothing more, and then arrive hook=OUTPUT",
        " host, handle 1, injection 2, step 1: nothing more, and then inject handle=1 function=Send",
    ]


def test_each_direction_of_a_stream_is_compared_by_itself() -> None:
    def asked(octets: int, flags: int) -> AnyEvent:
        note = f"{octets} octets, flags {flags:#x}"
        return event.Classify(time=1, bed=1, host="host", layer="STREAM_V4", filter=1, flow=1, note=note)

    sent, received = asked(9, 0x10000), asked(4, 1)
    assert differences(stories([sent, received]), stories([received, sent])) == []
    assert len(differences(stories([sent, received]), stories([asked(8, 0x10000), received]))) == 1


@pytest.mark.parametrize(("status", "code"), [("SUCCESS", 0), ("CANCELLED", 1)])
def test_the_command_says_what_went_another_way(status: str, code: int, tmp_path: Path) -> None:
    for name, how in (("a", "SUCCESS"), ("b", status)):
        with (tmp_path / name).open("wb") as file:
            writer = TraceWriter(file)
            for seen in (event.Run(time=1, format=1), *passing(1, datagram(40001), status=how), event.Summary(time=9)):
                writer.write(seen)
    out = StringIO()
    assert run(tmp_path / "a", Choice(same_as=tmp_path / "b"), out) == code
    last = out.getvalue().splitlines()[-1]
    assert last == ("1 of 2" if code else "the same: 2") + " packets, injections and streams" + (
        " went another way" if code else ""
    )


def test_a_trace_that_tells_nothing_or_cannot_be_read_is_no_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "a").open("wb") as file:
        writer = TraceWriter(file)
        writer.write(event.Run(time=1, format=1))
        writer.write(event.Summary(time=1))
    assert run(tmp_path / "a", Choice(same_as=tmp_path / "a"), StringIO()) == 1
    assert run(tmp_path / "a", Choice(same_as=tmp_path / "none"), StringIO()) == 1
    assert "No such file" in capsys.readouterr().err
