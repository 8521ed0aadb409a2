"""The report is one page that stands alone, and everything foreign in it is text."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from typing import Any

import pytest

from emulator.checks import Check
from emulator.evidence import traceevents as event
from emulator.evidence.htmlreport import since, span, write_report
from emulator.evidence.reportdata import BEDS_MOST, STEPS_OF_BED, STEPS_OF_FAILED_BED
from emulator.evidence.tally import tally
from emulator.evidence.traceevents import AnyEvent
from emulator.run.results import Result
from tests.unit.tracing import Tape, blocked, cloned_and_injected, datagram, places

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\x00\x1b[2J\u202edlrow\u2066 &amp; {{ 7*7 }}\""
SHOWN = HOSTILE.replace("\x00", "\\x00").replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace(
    "\u2066", "\\u2066"
)  # fmt: skip
VOID = {"meta", "link", "input", "img", "br"}


class Page(HTMLParser):
    """What a page consists of: (tag, attributes) of every element, and the text of each kind."""

    def __init__(self, octets: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.script = ""
        self.open: list[str] = []
        self.feed(octets.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            self.script += data
        elif "style" not in self.open:
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def classed(self, name: str) -> list[dict[str, str | None]]:
        return [item for _, item in self.elements if name in (item.get("class") or "").split()]


def bed(tape: Tape, scenario: str = "shown", **more: Any) -> list[AnyEvent]:
    begun = event.Bed(time=1_000_000_000, bed=1, scenario=scenario, family="ipv4", hosts=places(),
                      links=[["host", "eth0", "peer", "eth0"]], **more)  # fmt: skip
    return [begun, *tape.events(), event.Ended(time=tape.time, status="passed")]


def report(results: Sequence[Result], events: Iterable[AnyEvent] = ()) -> tuple[Page, bytes]:
    seen = [event.Run(time=1_700_000_000_000_000_000, format=1, program="wfplab 1", kernel="6.1"), *events]
    out = BytesIO()
    write_report(out, results, iter(seen), tally(seen, results))
    return Page(out.getvalue()), out.getvalue()


def passed(name: str = "shown", **more: Any) -> Result:
    return Result(name, checks=[Check("a", True, "1", "1")], **more)


def test_the_page_asks_for_nothing_from_anywhere() -> None:
    page, octets = report([passed()], bed(cloned_and_injected()))
    for attributes in page.of("link") + page.of("img") + page.of("script"):
        assert {"src", "href"} & set(attributes) <= {"href"}
        assert attributes.get("href", "data:,") == "data:,"
    assert not re.search(rb"https?://|@import|url\(", octets)
    (policy,) = [item for item in page.of("meta") if "Content-Security-Policy" in str(item.get("http-equiv"))]
    digest = b64encode(sha256(page.script.encode()).digest()).decode()
    content = str(policy["content"])
    assert "default-src 'none'" in content
    assert f"script-src 'sha256-{digest}'" in content


def test_the_packets_of_the_run_are_on_the_diagram_with_injected_ones_marked() -> None:
    page, _ = report([passed()], bed(cloned_and_injected()))
    steps = page.classed("step")
    assert [item["data-packets"] for item in steps] == ["1"] * 6
    assert len(page.classed("injected")) - 1 == 5  # the legend has one too
    assert "network send by handle 5, 35 octets" in page.text
    assert datagram().hex() in page.text


def test_counts_stand_on_the_page_as_they_are() -> None:
    results = [passed(), Result("bad", checks=[Check("b", False, "1", "2")])]
    events = bed(cloned_and_injected())
    page, octets = report(results, events)
    shown = dict(re.findall(rb'data-count="([^"]+)">(\d+)<', octets))
    assert {key.decode(): int(value) for key, value in shown.items()} == tally(events, results)


def test_what_failed_comes_first_and_is_open() -> None:
    bad = Result("bad", checks=[Check("what arrived", False, "[b'one']", "[]", "network.py:3")])
    page, _ = report([passed("good"), bad, Result("lost", unmeasured=["a canary was lost"])])
    scenarios = page.classed("scenario")
    assert [(item["data-name"], "open" in item) for item in scenarios] == [
        ("bad", True), ("lost", True), ("good", False),
    ]  # fmt: skip
    for text in ("1 failed, 1 unmeasured, 1 passed", "[b'one']", "network.py:3", "Not measured: a canary was lost"):
        assert text in page.text


def test_hostile_text_is_text_wherever_it_comes_from() -> None:
    bad = Check(HOSTILE, False, HOSTILE, HOSTILE, HOSTILE)
    result = Result(
        HOSTILE, HOSTILE, [HOSTILE], [bad], [{"family": HOSTILE, "rule": HOSTILE, "text": HOSTILE}],
        unmeasured=[HOSTILE], sections=[(HOSTILE, HOSTILE)],
    )  # fmt: skip
    tape = cloned_and_injected()
    violation = event.Violation(time=3, packet=1, host="host", rule=HOSTILE, call=HOSTILE, message=HOSTILE)
    ended = event.Ended(time=4, books={HOSTILE: {HOSTILE: 1}}, left_out={HOSTILE: 1})
    begun = event.Bed(time=1, bed=1, scenario=HOSTILE, family=HOSTILE, picture=HOSTILE,
                      hosts=[event.Place(name=HOSTILE, addresses=[HOSTILE])])  # fmt: skip
    page, octets = report([result], [begun, *tape.events(), violation, ended])
    assert page.text.count(SHOWN) >= 15
    assert len(page.of("script")) == 1
    assert page.of("img") == []
    assert "alert(1)" not in page.script
    assert not re.search(r"[\x00\x1b\u202e\u2066]", octets.decode())
    assert page.classed("scenario")[0]["data-name"] == SHOWN


@pytest.mark.parametrize("payload", [b"</script><script>x</script>", "\u202eevil".encode(), bytes(range(32))])
def test_hostile_payloads_are_only_shown_as_octets(payload: bytes) -> None:
    octets = datagram(payload)
    page, page_octets = report([passed()], bed(Tape().inject(1, octets)))
    assert octets.hex() in page.text
    assert payload not in page_octets
    assert len(page.of("script")) == 1


def test_a_large_run_stays_a_small_page_that_says_what_is_left_out() -> None:
    tape = Tape()
    for number in range(5000):
        tape.inject(number + 1, datagram(b"%05d" % number))
    page, octets = report([passed()], bed(tape))
    assert len(page.classed("step")) == STEPS_OF_BED
    assert f"{5000 - STEPS_OF_BED} more steps are not shown" in page.text
    assert "wfplab trace trace.jsonl --bed 1" in page.text
    assert len(octets) < 1_000_000
    page, _ = report([Result("shown", checks=[Check("a", False, "1", "2")])], bed(tape))
    assert len(page.classed("step")) == STEPS_OF_FAILED_BED


def test_too_many_beds_are_left_out_and_said_to_be() -> None:
    beds = [item for number in range(BEDS_MOST + 5) for item in bed(Tape(), f"s{number}")]
    page, _ = report([passed(f"s{BEDS_MOST + 1}")], beds)
    assert "No trace of this scenario: 5 beds are not shown" in page.text


def test_what_was_not_recorded_is_told() -> None:
    events = bed(blocked())
    events[-1] = event.Ended(time=9, left_out={"wire": 12})
    assert "Not recorded, for there was too much: 12 wire." in report([passed()], events)[0].text


def test_a_run_of_nothing_is_no_success() -> None:
    page, _ = report([])
    assert "nothing was run" in page.text
    assert [item["class"] for item in page.of("h1")] == ["unmeasured"]


def test_times_are_told_in_units_that_suit_them() -> None:
    assert [span(number) for number in (0, 999, 1500, 2.5e6, 3e9)] == ["0 ns", "999 ns", "1.5 µs", "2.5 ms", "3 s"]
    assert since(2_500_000, 1_000_000) == "1.500"
