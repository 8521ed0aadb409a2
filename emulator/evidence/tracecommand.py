"""`wfplab trace`: prints a trace, follows one packet over all hops, says where packets were lost, compares two."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from emulator.evidence import traceevents as event
from emulator.evidence.traceevents import AnyEvent, BadTrace, TraceWriter, kind_of, read_file
from emulator.evidence.tracetext import fate_text, line, what
from emulator.evidence.visible import changed, hexdump, one_line

FAILED = 1
OCTETS_SHOWN = 512
DIFFERENCES_SHOWN = 20
CAUSES_MOST = 64
"""Packets that are followed because one led to another."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which events are printed, and how."""

    packet: int = 0
    layer: str = ""
    handle: int = 0
    host: str = ""
    bed: int = 0
    kind: str = ""
    lost: bool = False
    follow: int = 0
    same_as: Path | None = None
    """Another trace; what this one tells otherwise is printed."""
    json: bool = False

    def takes(self, seen: AnyEvent) -> bool:
        """True for an event that is asked for."""
        return (
            (not self.packet or seen.packet == self.packet)
            and (not self.bed or seen.bed == self.bed)
            and (not self.host or seen.host == self.host)
            and (not self.kind or kind_of(seen) == self.kind)
            and (not self.handle or getattr(seen, "handle", 0) == self.handle)
            and (not self.layer or self.layer.upper() in str(getattr(seen, "layer", "")))
        )


def run(path: Path, choice: Choice, out: IO[str]) -> int:
    """Print what is asked for from a trace, or from the one in a report's folder; the exit status.

    A trace that cannot be read is told of on standard error, after what could be read of it.
    """
    file = _file(path)
    try:
        trace = file.open("rb")
    except OSError as error:
        return _complain(file, error.strerror or str(error))
    with trace:
        try:
            if choice.same_as is not None:
                return _compare(read_file(trace), _file(choice.same_as), out)
            return _chosen(read_file(trace), choice, out)
        except BadTrace as error:
            return _complain(file, str(error))
        except BrokenPipeError:  # whoever read it has seen enough
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
            return 0


def _file(path: Path) -> Path:
    return path / "trace.jsonl" if path.is_dir() else path


def _complain(file: Path, why: str) -> int:
    sys.stderr.write(f"wfplab: {one_line(str(file))}: {one_line(why)}\n")
    return FAILED


def _chosen(events: Iterator[AnyEvent], choice: Choice, out: IO[str]) -> int:
    if choice.follow:
        return _follow(events, choice.follow, out)
    if choice.lost:
        return _lost(events, choice, out)
    return _print(events, choice, out)


def _print(events: Iterator[AnyEvent], choice: Choice, out: IO[str]) -> int:
    found = 0
    began = 0
    for seen in events:
        if isinstance(seen, event.Bed):
            began = seen.time
        if choice.takes(seen):
            found += 1
            out.write(as_json(seen) if choice.json else line(seen, began=began) + "\n")
    return 0 if found else FAILED


def as_json(seen: AnyEvent) -> str:
    """One event as it stands in a trace, with what a terminal could obey as escapes; it ends with a new line."""
    from io import BytesIO

    buffer = BytesIO()
    number = seen.seq
    writer = TraceWriter(buffer)
    writer.seq = number - 1
    writer.write(seen)
    text = buffer.getvalue().decode("utf-8")
    return "".join(_escaped(character) for character in text[:-1]) + "\n"


def _escaped(character: str) -> str:
    if one_line(character) == character:
        return character
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


# -- two traces -------------------------------------------------------------------------------------------


def _compare(events: Iterator[AnyEvent], other: Path, out: IO[str]) -> int:
    """What two traces tell otherwise; FAILED when that is something."""
    from emulator.evidence.traceorder import differences, stories

    one = stories(events)
    try:
        with other.open("rb") as file:
            found = differences(one, stories(read_file(file)))
    except OSError as error:
        return _complain(other, error.strerror or str(error))
    except BadTrace as error:
        return _complain(other, str(error))
    for told in found[:DIFFERENCES_SHOWN]:
        out.write(f"{one_line(told)}\n")
    if found:
        out.write(f"{len(found)} of {len(one)} packets, injections and streams went another way\n")
        return FAILED
    out.write(f"the same: {len(one)} packets, injections and streams\n")
    return 0 if one else FAILED


# -- where packets were lost ------------------------------------------------------------------------------


def _lost(events: Iterator[AnyEvent], choice: Choice, out: IO[str]) -> int:
    """Every packet that was not delivered, and why; FAILED when there was one.

    Those in whose place another was injected are no losses; the others have fates of their own.
    """
    number = replaced = 0
    bed = ""
    first: dict[int, str] = {}
    for seen in events:
        if isinstance(seen, event.Bed):
            bed = one_line(f"{seen.scenario} {seen.family}".strip())
            first.clear()  # packets are those of one bed
        elif isinstance(seen, event.Fate):
            about = first.pop(seen.packet, "")
            if seen.outcome == "delivered" or not choice.takes(seen):
                continue
            if seen.outcome == "replaced":
                replaced += 1
            else:
                number += 1
                out.write(f"#{seen.packet}  {bed}  {about}\n    {one_line(fate_text(seen))}\n")
        elif isinstance(seen, event.Loss) and choice.takes(seen):
            number += seen.packets
            out.write(f"{bed}  {seen.packets} packets at {one_line(seen.host)}: {one_line(seen.cause)}\n")
        elif seen.packet and seen.packet not in first:
            first[seen.packet] = what(seen)
    more = f"; {replaced} were taken out and others injected because of them" if replaced else ""
    out.write((f"{number} packets were not delivered" if number else "no packet was lost") + more + "\n")
    return FAILED if number else 0


# -- one packet over all hops -----------------------------------------------------------------------------


def _follow(events: Iterator[AnyEvent], packet: int, out: IO[str]) -> int:
    """Everything one packet met, with its octets where they were seen first and wherever they had changed."""
    story = Story(packet, out)
    for seen in events:
        story.take(seen)
    if not story.found:
        out.write(f"there is no packet {packet} in this trace\n")
    return 0 if story.found else FAILED


class Story:
    """Tells of one packet, its copies, and the packets that were injected because of it."""

    def __init__(self, packet: int, out: IO[str]) -> None:
        self.found = False
        self._packets = {packet}
        self._out = out
        self._began = 0
        self._bed = ""
        self._octets: dict[tuple[int, int], bytes] = {}

    def take(self, seen: AnyEvent) -> None:
        """Tell of an event if it is part of the story."""
        if isinstance(seen, event.Bed):
            self._began = seen.time
            self._bed = one_line(f"{seen.scenario} {seen.family}: {seen.picture}")
        if isinstance(seen, event.Inject) and seen.cause in self._packets and len(self._packets) < CAUSES_MOST:
            self._packets.add(seen.packet)
        if not seen.packet or seen.packet not in self._packets:
            return
        if not self.found:
            self._out.write(f"{self._bed}\n\n")
            self.found = True
        if isinstance(seen, event.Fate):
            self._out.write(f"\n#{seen.packet} {one_line(fate_text(seen))}\n")
            return
        self._out.write(f"{line(seen, began=self._began)}\n")
        octets = _octets_of(seen)
        if octets:
            self._show(seen, octets)

    def _show(self, seen: AnyEvent, octets: bytes) -> None:
        """The octets, if they are not those that were shown last; the changed ones marked.

        What was injected because of a packet is compared with that packet.
        """
        key = (seen.packet, seen.copy)
        origin = seen.cause if isinstance(seen, event.Inject) and seen.cause else seen.packet
        before = self._octets.get(key) or self._octets.get((origin, 0))
        if before == octets:
            return
        marked = changed(before, octets) if before is not None else frozenset[int]()
        self._octets[key] = octets
        if before is not None:
            same_length = len(before) == len(octets)
            text = f"octets that differ: {len(marked)}" if same_length else f"{len(before)} octets before"
            self._out.write(f"             changed: {text}\n")
        dump = hexdump(octets, most=OCTETS_SHOWN, marked=marked)
        self._out.write("".join(f"             {row}\n" for row in dump.splitlines()))


def _octets_of(seen: AnyEvent) -> bytes:
    match seen:
        case event.Wire():
            return seen.octets[14:]
        case event.Arrival() | event.Send():
            return seen.octets
        case event.Verdict():
            return seen.octets or b""
        case event.Inject():
            return seen.packets[0] if len(seen.packets) == 1 else b""
    return b""
