"""Events of a trace as lines for people; nothing from a packet or a file reaches a terminal unescaped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from emulator.evidence import traceevents as event
from emulator.evidence.traceevents import AnyEvent
from emulator.evidence.visible import one_line
from emulator.octets import describe

ETHERNET = 14
_ETHERTYPES = {0x0800: "IPv4", 0x86DD: "IPv6", 0x0806: "ARP", 0x8100: "VLAN"}
PATHS = {
    "FwpsInjectNetworkSendAsync0": "network send",
    "FwpsInjectNetworkReceiveAsync0": "network receive",
    "FwpsInjectTransportSendAsync0": "transport send",
    "FwpsInjectTransportReceiveAsync0": "transport receive",
    "FwpsInjectForwardAsync0": "forward",
    "FwpsStreamInjectAsync0": "stream",
}
"""What an injection function's path is called in a report."""


def line(shown: AnyEvent, *, began: int = 0) -> str:
    """One event in one line; with `began`, times are seconds since then, else the time of the day, in UTC."""
    return f"{clock(shown.time, began)}  {number(shown):>7}  {one_line(shown.host):<8}  {what(shown)}".rstrip()


def clock(time: int, began: int = 0) -> str:
    """A time of the trace: since `began`, or of the day."""
    if began:
        return f"{(time - began) / 1e9:+11.6f}"
    seconds, rest = divmod(time, 1_000_000_000)
    return f"{datetime.fromtimestamp(min(seconds, 1 << 36), UTC):%H:%M:%S}.{rest // 1000:06d}"


def number(shown: AnyEvent) -> str:
    """Packet and copy, such as `#12` or `#12.1`; empty for what is about no packet."""
    if not shown.packet:
        return ""
    return f"#{shown.packet}.{shown.copy}" if shown.copy else f"#{shown.packet}"


def what(shown: AnyEvent) -> str:
    """What happened, without when, where and to which packet."""
    return one_line(_TEXTS[type(shown)](shown))


def packet_text(octets: bytes) -> str:
    """An IP packet in a few words; its size when it is none."""
    return describe(octets)


def frame_text(frame: bytes) -> str:
    """A frame in a few words."""
    kind = int.from_bytes(frame[12:14]) if len(frame) >= ETHERNET else 0
    name = _ETHERTYPES.get(kind, f"type {kind:#06x}")
    return packet_text(frame[ETHERNET:]) if name.startswith("IP") else f"{name}, {len(frame)} octets"


def fate_text(fate: event.Fate) -> str:
    """What became of a packet, in words."""
    others = ", ".join(f"#{packet}" for packet in fate.others)
    return f"{fate.outcome}: {fate.reason}" + (f"; injected because of it: {others}" if others else "")


def _by(shown: Any) -> str:
    return f" by filter {shown.filter}" if shown.filter else ""


def _injected(shown: Any) -> str:
    return f", injection {shown.injection} of handle {shown.handle}" if shown.injection else ""


def _way(shown: event.Arrival) -> str:
    return " ".join(filter(None, (f"from {shown.into}" if shown.into else "", f"to {shown.out}" if shown.out else "")))


def _classify(shown: event.Classify) -> str:
    absorbed = " ABSORB" if shown.absorb else ""
    asked = f"filter {shown.filter}" + (f", callout {shown.callout}" if shown.callout else "")
    right = "" if shown.right else ", no right left"
    more = f", {shown.note}" if shown.note else ""
    action = "NONE: it decided nothing" if shown.action == "NONE" else shown.action
    return f"classify {shown.layer}: {asked}: {action}{absorbed}{right}, {shown.state}{more}"


def _decide(shown: event.Decision) -> str:
    answer = f"{'absorbed' if shown.absorb else 'blocked'}{_by(shown)}" if shown.blocked else "may pass"
    return f"layer {shown.layer}: {answer}"


def _verdict(shown: event.Verdict) -> str:
    where = f" at {shown.layer}{_by(shown)}" if shown.layer else ""
    changed = f", rewritten: {packet_text(shown.octets)}" if shown.octets is not None else ""
    return f"{shown.outcome} at {shown.hook}{where}{_injected(shown)}{changed}"


def _inject(shown: event.Inject) -> str:
    size = sum(map(len, shown.packets))
    because = f", because of packet {shown.cause}" if shown.cause else ""
    return (
        f"inject: {PATHS.get(shown.function, shown.function)} of handle {shown.handle} ({shown.types}), "
        f"injection {shown.injection}, {size} octets{because}"
    )


def _wire(shown: event.Wire) -> str:
    by = f", injection {shown.injection} of {shown.injector}" if shown.injection else ""
    return f"wire {shown.interface} {'out' if shown.outgoing else 'in'}: {frame_text(shown.octets)}{by}"


def _ended(shown: event.Ended) -> str:
    left = ", ".join(f"{count} {kind}" for kind, count in shown.left_out.items())
    return f"end: {shown.status}" + (f"; not in this file: {left}" if left else "")


def _completion(shown: event.Complete) -> str:
    path = PATHS.get(shown.function, shown.function)
    return f"complete: {path} of handle {shown.handle}, injection {shown.injection}: {shown.status}"


_TEXTS: dict[type[Any], Callable[[Any], str]] = {
    event.Run: lambda shown: f"run: {shown.program} on Linux {shown.kernel}",
    event.Bed: lambda shown: f"bed {shown.bed}: {shown.scenario} {shown.family}: {shown.picture}",
    event.Filter: lambda shown: f"filter {shown.filter} {shown.title!r} at {shown.layer}, callout {shown.callout} "
    f"{shown.function}",
    event.Arrival: lambda shown: f"arrive {shown.hook} {_way(shown)}: {packet_text(shown.octets)}{_injected(shown)}",
    event.Classify: _classify,
    event.Right: lambda shown: f"right to decide taken away at {shown.layer}{_by(shown)}",
    event.Decision: _decide,
    event.Clone: lambda shown: f"list {shown.item}: {shown.kind}, {shown.length} octets",
    event.Free: lambda shown: f"list {shown.item} freed",
    event.Inject: _inject,
    event.Send: lambda shown: f"send by {shown.way}: {packet_text(shown.octets)}{_injected(shown)}",
    event.Complete: _completion,
    event.Verdict: _verdict,
    event.Violation: lambda shown: f"broken rule {shown.rule} in {shown.call}: {shown.message}",
    event.Loss: lambda shown: f"lost {shown.packets}: {shown.cause}",
    event.Wire: _wire,
    event.Fate: fate_text,
    event.Ended: _ended,
    event.Summary: lambda shown: "summary: " + ", ".join(f"{count} {name}" for name, count in shown.counts.items()),
}
