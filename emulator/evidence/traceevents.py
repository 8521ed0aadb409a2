"""The events of a trace, and their form as JSON Lines: one typed object a line, the run first, a summary last.

Octets are base64 and times are nanoseconds since the epoch.  A trace may come from anywhere: whatever does not
fit is refused with its line number, and nothing in it is ever executed or followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Annotated

from msgspec import DecodeError, Meta, Struct, ValidationError
from msgspec.json import Decoder, Encoder

FORMAT = 1
LINE_OCTETS = 4 << 20
"""The longest line: sixteen packets of 64 KiB in base64 fit, and the largest frame does."""

Number = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
Text = Annotated[str, Meta(max_length=4096)]


class BadTrace(Exception):
    """Raised for a trace that cannot be read; the message names the line and what is wrong with it."""


class Event(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="event"):
    """What all events have."""

    seq: Number = 0
    """Its place in the file."""
    time: Number
    """Nanoseconds since the epoch."""
    bed: Number = 0
    """Which of the run's beds, from 1; 0 for the run itself."""
    host: Text = ""
    packet: Number = 0
    """The packet it is about, the same number over all hooks and hosts; 0 for none."""
    copy: Number = 0
    """Which of the packet's copies: 0 is the one that came, others were injected in its place."""


class Place(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One host of a bed."""

    name: Text
    emulated: bool = False
    addresses: list[Text] = []
    interfaces: dict[str, Text] = {}
    """Index, as text, to name."""


class Run(Event, kw_only=True, tag="run"):
    """The trace begins."""

    format: Number
    program: Text = ""
    kernel: Text = ""


class Bed(Event, kw_only=True, tag="bed"):
    """A scenario has a bed for one family."""

    scenario: Text = ""
    family: Text = ""
    picture: Text = ""
    hosts: list[Place] = []
    links: list[list[Text]] = []
    """Each: host, interface, host, interface."""


class Filter(Event, kw_only=True, tag="filter"):
    """A filter is met for the first time; later events name it by its number."""

    filter: Number
    title: Text = ""
    layer: Text = ""
    callout: Number = 0
    function: Text = ""
    """The callout's classify function."""


class Arrival(Event, kw_only=True, tag="arrive"):
    """A packet was taken at a hook, before any layer saw it."""

    hook: Text
    into: Text = ""
    """The interface it came by."""
    out: Text = ""
    injection: Number = 0
    """The last injection in its history."""
    handle: Number = 0
    octets: bytes = b""


class Classify(Event, kw_only=True, tag="classify"):
    """One filter was asked."""

    layer: Text
    filter: Number
    callout: Number = 0
    action: Text = ""
    decided: bool = False
    """Its answer ended its sublayer."""
    right: bool = True
    """The right to decide is still there afterwards."""
    absorb: bool = False
    injection: Number = 0
    handle: Number = 0
    state: Text = ""
    """What the handle that injected it last is told of it; others are told INJECTED_BY_OTHER."""
    flow: Number = 0
    note: Text = ""


class Right(Event, kw_only=True, tag="right"):
    """A filter took the right to decide away from those after it."""

    layer: Text
    filter: Number
    callout: Number = 0


class Decision(Event, kw_only=True, tag="decide"):
    """All filters of a layer were asked, and this came out."""

    layer: Text
    blocked: bool = False
    absorb: bool = False
    filter: Number = 0
    """Which one blocked it."""
    flow: Number = 0


class Clone(Event, kw_only=True, tag="clone"):
    """A driver got a list (`item` is its number): a clone, a copy, or one made from nothing."""

    item: Number
    kind: Text = "clone"
    parent: Number = 0
    """The list it was cloned from; 0 for one that the stack showed."""
    length: Number = 0


class Free(Event, kw_only=True, tag="free"):
    """A driver gave a list back."""

    item: Number


class Inject(Event, kw_only=True, tag="inject"):
    """An injection was accepted."""

    injection: Number
    handle: Number
    types: Text = ""
    """What the handle permits, with its family, such as "NETWORK INET"."""
    function: Text
    path: Text = ""
    item: Number = 0
    cause: Number = 0
    """The packet that was being shown when it was made from nothing."""
    interface: Text = ""
    context: Text = ""
    packets: list[bytes] = []


class Send(Event, kw_only=True, tag="send"):
    """An injected packet was given to the kernel by a socket."""

    injection: Number = 0
    handle: Number = 0
    way: Text = ""
    octets: bytes = b""


class Complete(Event, kw_only=True, tag="complete"):
    """An injection was completed."""

    injection: Number
    handle: Number = 0
    function: Text = ""
    status: Text = ""


class Verdict(Event, kw_only=True, tag="verdict"):
    """What became of a packet at a hook: passed, reinjected, blocked, absorbed or abandoned."""

    hook: Text
    outcome: Text
    accepted: bool = False
    injection: Number = 0
    handle: Number = 0
    layer: Text = ""
    filter: Number = 0
    """Where and by whom it was blocked."""
    octets: bytes | None = None
    """As it went on; None when they are those that arrived, or when it did not."""


class Violation(Event, kw_only=True, tag="violation"):
    """A rule was broken."""

    rule: Text
    call: Text = ""
    message: Text = ""
    handle: Text = ""


class Loss(Event, kw_only=True, tag="loss"):
    """Packets were lost on the emulator's side; which ones, nobody can tell."""

    cause: Text
    packets: Number


class Wire(Event, kw_only=True, tag="wire"):
    """A frame passed an interface."""

    interface: Text
    outgoing: bool = False
    length: Number = 0
    finished: bool = True
    """The transport checksum is filled in."""
    injection: Number = 0
    """The injection it came from, at the host `injector`."""
    injector: Text = ""
    comment: Text = ""
    octets: bytes = b""
    """The frame, from its Ethernet header on."""


class Fate(Event, kw_only=True, tag="fate"):
    """What became of a packet in the end, and why."""

    outcome: Text
    """delivered, dropped, replaced, or left: nobody knows more."""
    reason: Text = ""
    others: list[Number] = []
    """Packets that were injected because of it."""


class Ended(Event, kw_only=True, tag="end"):
    """A scenario's bed is gone."""

    status: Text = ""
    books: dict[str, dict[str, Number]] = {}
    """Host to its books, summed over its hooks."""
    left_out: dict[str, Number] = {}
    """Kind of event to how many are not in this file."""


class Summary(Event, kw_only=True, tag="summary"):
    """The trace is complete; the same counts are in the other files of the run."""

    counts: dict[str, Number] = {}


AnyEvent = (
    Run | Bed | Filter | Arrival | Classify | Right | Decision | Clone | Free | Inject | Send | Complete | Verdict
    | Violation | Loss | Wire | Fate | Ended | Summary
)  # fmt: skip
"""Every event, for reading."""

EVENTS: tuple[type[Event], ...] = (
    Run, Bed, Filter, Arrival, Classify, Right, Decision, Clone, Free, Inject, Send, Complete, Verdict, Violation,
    Loss, Wire, Fate, Ended, Summary,
)  # fmt: skip
"""All kinds, in the order of their descriptions above."""


def kind_of(event: Event) -> str:
    """The kind of an event, as it stands in the file."""
    return str(event.__struct_config__.tag)


class TraceWriter:
    """Writes events as lines and numbers them; the file stays its owner's."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._encode = Encoder().encode
        self.seq = 0

    def write(self, event: Event) -> None:
        """Add one event; raises OSError."""
        self.seq += 1
        event.seq = self.seq
        self._out.write(self._encode(event) + b"\n")


def read(lines: Iterable[bytes]) -> Iterator[AnyEvent]:
    """The events of a trace, as they come; raises BadTrace at the first line that is none."""
    decode = Decoder(AnyEvent, strict=True).decode
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_OCTETS:
            raise BadTrace(f"line {number}: longer than {LINE_OCTETS} octets")
        try:
            event = decode(line)
        except (ValidationError, DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadTrace(f"line {number}: {error}") from error
        if isinstance(event, Run) and event.format != FORMAT:
            raise BadTrace(f"line {number}: format {event.format}, and this program reads {FORMAT}")
        yield event


def read_file(file: IO[bytes]) -> Iterator[AnyEvent]:
    """The events of an open trace; raises BadTrace, also for one that has no beginning or no end."""
    last: AnyEvent | None = None
    for event in read(_bounded(file)):
        if last is None and not isinstance(event, Run):
            raise BadTrace("line 1: a trace begins with its run")
        last = event
        yield event
    if not isinstance(last, Summary):
        raise BadTrace("the trace breaks off: it has no summary at its end")


def _bounded(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(LINE_OCTETS + 2):
        yield line


__all__ = ["EVENTS", "AnyEvent", "BadTrace", "TraceWriter", "kind_of", "read", "read_file"]
