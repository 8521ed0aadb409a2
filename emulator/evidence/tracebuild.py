"""From the tuples that hosts and captures left behind to typed events, each with the number of its packet.

A builder goes over the tuples of one bed once, in order of time; going over them again gives the same events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from emulator.evidence import trace as raw
from emulator.evidence import traceevents as event
from emulator.evidence.lineage import (
    INPUT,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    RECEIVED,
    SENT,
    WIRE_IN,
    WIRE_OUT,
    Copy,
    Lineage,
    identity_of,
)
from emulator.evidence.traceevents import AnyEvent, Place
from emulator.injection import (
    FORWARD,
    FUNCTION_NAMES,
    FUNCTION_TYPES,
    NETWORK_RECEIVE,
    STREAM,
    TRANSPORT_RECEIVE,
)
from emulator.layerids import Layer
from emulator.paths.queue import HookNumber
from emulator.wfptypes import Action

_RANKS = {0: PREROUTING, 1: INPUT, 2: INPUT, 3: OUTPUT, 4: POSTROUTING}
_HOOKS = {int(hook): hook.name for hook in HookNumber}
_LAYERS = {int(layer): layer.name for layer in Layer}
_ACTIONS = {int(action): action.name for action in Action}
_ETHERNET, _ETHERTYPES = 14, (b"\x08\x00", b"\x86\xdd")
_OUTGOING, _ACCEPT = 4, 1
_NOT_INJECTED, _INJECTED = "NOT_INJECTED", "INJECTED_BY_SELF"


@dataclass(slots=True)
class Sight:
    """One packet at one hook."""

    copy: Copy
    octets: bytes
    blocked: tuple[str, int, bool] | None = None
    """Layer, filter and whether silently, of the last block."""
    injection: int = 0
    """The last injection that was made of it."""


@dataclass(slots=True)
class Injected:
    """One injection."""

    function: int
    handle: int
    copies: list[Copy]


@dataclass(slots=True)
class HostState:
    """What a builder knows of one host."""

    sights: dict[int, Sight] = field(default_factory=dict)
    injections: dict[int, Injected] = field(default_factory=dict)
    lists: dict[int, Copy] = field(default_factory=dict)
    rights: dict[tuple[int, int], bool] = field(default_factory=dict)
    forwards: deque[int] = field(default_factory=lambda: deque(maxlen=64))
    """The last forward injections, by number."""
    filters: dict[int, str] = field(default_factory=dict)
    """What to call a filter."""
    lost: dict[str, int] = field(default_factory=dict)


class Builder:
    """Makes the events of one bed; `lineage` afterwards knows every packet and what became of it."""

    def __init__(self, hosts: list[Place]) -> None:
        self.hosts = hosts
        self.lineage = Lineage()
        self._states = [HostState() for _ in hosts]
        self._makers: dict[int, Callable[[int, int, HostState, tuple[Any, ...]], Iterator[AnyEvent]]] = {
            raw.ARRIVE: self._arrive,
            raw.CLASSIFY: self._classify,
            raw.DECIDE: self._decide,
            raw.MADE: self._made,
            raw.FREED: self._freed,
            raw.INJECT: self._inject,
            raw.SEND: self._send,
            raw.COMPLETE: self._complete,
            raw.VERDICT: self._verdict,
            raw.VIOLATION: self._violation,
            raw.LOSS: self._loss,
            raw.WIRE: self._wire,
            raw.FILTER: self._filter,
        }

    def events(self, records: Iterable[raw.Record]) -> Iterator[AnyEvent]:
        """The events of these tuples, which are in order of time."""
        for kind, time, host, *rest in records:
            while host >= len(self._states):
                self._states.append(HostState())
            for made in self._makers[kind](time, host, self._states[host], tuple(rest)):
                made.host = self.hosts[host].name
                yield made

    def losses(self, host: int) -> dict[str, int]:
        """Packets a host lost on the emulator's side, by cause."""
        return self._states[host].lost

    # -- at the hooks -----------------------------------------------------------------------------------

    def _arrive(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        number, hook, into, out, serial, octets = rest
        made = state.injections.get(serial)
        copy = None
        if made is not None:
            copy = self.lineage.choose(made.copies, host, _HOOKS[hook], octets)
            if copy is None:  # cut by the kernel, for example
                copy = self._another(time, host, serial, made)
            if copy.key is None:
                self.lineage.hold(copy, octets)
            copy.seen(time, host, _RANKS[hook], _HOOKS[hook])
        else:
            looped = self._interface(host, into) == "lo"
            copy = self.lineage.sighted(time, host, _RANKS[hook], _HOOKS[hook], octets, looped=looped)
        state.sights[number] = Sight(copy, octets)
        yield event.Arrival(
            time=time, packet=copy.packet, copy=copy.number, hook=_HOOKS[hook], into=self._interface(host, into),
            out=self._interface(host, out), injection=serial, handle=made.handle if made is not None else 0,
            octets=octets,
        )  # fmt: skip

    def _another(self, time: int, host: int, serial: int, made: Injected) -> Copy:
        packet = made.copies[0].packet if made.copies else 0
        copy = self.lineage.born(time, packet=packet)
        copy.injection = (host, serial)
        made.copies.append(copy)
        return copy

    def _classify(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        number, layer, filter_id, callout, action, decided, right, absorb, serial, flow, note = rest
        packet, copy = self._shown(state, host, number, serial)
        made = state.injections.get(serial)
        name = _LAYERS.get(layer, str(layer))
        yield event.Classify(
            time=time, packet=packet, copy=copy, layer=name, filter=filter_id, callout=callout,
            action=_ACTIONS.get(action, f"{action:#x}"), decided=decided, right=right, absorb=absorb, flow=flow,
            injection=serial, handle=made.handle if made is not None else 0,
            state=_INJECTED if serial else _NOT_INJECTED, note=note,
        )  # fmt: skip
        if not right and state.rights.get((number, layer), True):
            yield event.Right(time=time, packet=packet, copy=copy, layer=name, filter=filter_id, callout=callout)
        state.rights[number, layer] = right

    def _shown(self, state: HostState, host: int, number: int, serial: int) -> tuple[int, int]:
        """Which packet and copy a layer is shown: the held one, or the clone that goes on in its place."""
        sight = state.sights.get(number)
        made = state.injections.get(serial)
        if sight is not None and made is not None and made.copies and sight.copy.injection != (host, serial):
            return made.copies[0].packet, made.copies[0].number
        return _numbers(sight)

    def _decide(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        number, layer, blocked, absorb, filter_id, serial, flow = rest
        sight = state.sights.get(number)
        name = _LAYERS.get(layer, str(layer))
        if sight is not None and blocked and not name.endswith("_DISCARD"):
            sight.blocked = (name, filter_id, absorb)
        state.rights.pop((number, layer), None)
        packet, copy = self._shown(state, host, number, serial)
        yield event.Decision(
            time=time, packet=packet, copy=copy, layer=name, blocked=blocked, absorb=absorb and blocked,
            filter=filter_id if blocked else 0, flow=flow,
        )  # fmt: skip

    def _verdict(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        number, hook, verdict, serial, octets, abandoned = rest
        sight = state.sights.get(number)
        accepted = verdict == _ACCEPT
        blocked = sight.blocked if sight is not None else None
        outcome = "passed"
        if accepted and sight is not None:
            reinjected = (serial if serial in state.injections else 0) or sight.injection
            if blocked is not None and reinjected:
                outcome, serial = "reinjected", reinjected
                self._take_over(time, host, state, sight, serial, _HOOKS[hook], _RANKS[hook])
            if octets is not None or outcome == "reinjected":
                self.lineage.hold(sight.copy, octets if octets is not None else sight.octets)
        elif not accepted:
            outcome = "abandoned" if abandoned else "absorbed" if blocked is not None and blocked[2] else "blocked"
            if sight is not None:
                self._stopped(state, sight, self._stopper(host, outcome, blocked), absorbed=outcome == "absorbed")
        made = state.injections.get(serial) if outcome == "reinjected" else None
        stopped = blocked if not accepted and blocked is not None else ("", 0, False)
        packet, copy = _numbers(sight)
        yield event.Verdict(
            time=time, packet=packet, copy=copy, hook=_HOOKS[hook], outcome=outcome, accepted=accepted,
            injection=serial if made is not None else 0, handle=made.handle if made is not None else 0,
            layer=stopped[0], filter=stopped[1], octets=octets,
        )  # fmt: skip

    def _take_over(
        self, time: int, host: int, state: HostState, sight: Sight, serial: int, place: str, rank: int
    ) -> None:
        """The injected clone goes on in place of the packet that was held."""
        made = state.injections.get(serial)
        if made is None:
            return
        copy = next((item for item in made.copies if not item.gone), None) or self._another(time, host, serial, made)
        if copy is not sight.copy:
            self.lineage.end(sight.copy, "its clone went on in its place")
            copy.places |= sight.copy.places
            copy.passed.update(sight.copy.passed)
            sight.copy = copy
        copy.seen(time, host, rank, place)

    def _stopped(self, state: HostState, sight: Sight, why: str, *, absorbed: bool) -> None:
        """A packet was dropped, and with it a clone that was to go on in its place and was stopped on the way."""
        sight.copy.absorbed = absorbed
        self.lineage.end(sight.copy, why)
        made = state.injections.get(sight.injection)
        for copy in made.copies if made is not None else ():
            if len(copy.places) == 1 and not copy.gone:
                copy.absorbed = absorbed
                self.lineage.end(copy, why)

    def _stopper(self, host: int, outcome: str, blocked: tuple[str, int, bool] | None) -> str:
        name = self.hosts[host].name
        if blocked is None:
            return f"dropped at {name}"
        layer, filter_id, _ = blocked
        who = self._states[host].filters.get(filter_id, f"filter {filter_id}")
        if outcome == "abandoned":
            return f"blocked at {layer} of {name} by {who}, and still held when the host was closed"
        return f"{outcome} at {layer} of {name} by {who}"

    # -- lists and injections ---------------------------------------------------------------------------

    def _made(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        number, kind, parent, sight, length = rest
        found = state.sights.get(sight)
        copy = found.copy if found is not None else state.lists.get(parent)
        if copy is not None:
            state.lists[number] = copy
        packet, which = (copy.packet, copy.number) if copy is not None else (0, 0)
        yield event.Clone(time=time, packet=packet, copy=which, item=number, kind=kind, parent=parent, length=length)

    def _freed(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        number, _ = rest
        copy = state.lists.pop(number, None)
        packet, which = (copy.packet, copy.number) if copy is not None else (0, 0)
        yield event.Free(time=time, packet=packet, copy=which, item=number)

    def _inject(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        serial, function, handle, types, item, number, cause, interface, context, packets = rest
        source = state.lists.get(item)
        sight = state.sights.get(number)
        if sight is not None:
            source = source or sight.copy
            sight.injection = serial
        because = state.sights.get(cause)
        reason = because.copy.packet if because is not None and source is None else 0
        made = state.injections[serial] = Injected(function, handle, [])
        if function == FORWARD:
            state.forwards.append(serial)
        if function != STREAM:
            for octets in packets:
                made.copies.append(self._copy(time, host, serial, function, source, reason, octets))
        first = made.copies[0] if made.copies else source
        if first is not None:
            state.lists[item] = first
        yield event.Inject(
            time=time, packet=first.packet if first is not None else 0, copy=first.number if first is not None else 0,
            injection=serial, handle=handle, types=types, function=FUNCTION_NAMES[function],
            path=str(FUNCTION_TYPES[function].name).lower(), item=item, cause=reason,
            interface=self._interface(host, interface), context=context, packets=list(packets),
        )  # fmt: skip

    def _copy(
        self, time: int, host: int, serial: int, function: int, source: Copy | None, cause: int, octets: bytes
    ) -> Copy:
        inbound = function in (NETWORK_RECEIVE, TRANSPORT_RECEIVE)
        copy = self.lineage.born(time, packet=source.packet if source is not None else 0, cause=cause)
        copy.injection = (host, serial)
        copy.destination = source.destination if source is not None else b""
        copy.seen(time, host, RECEIVED if inbound else SENT, f"injection {serial}")
        if octets[:1] and octets[0] >> 4 in (4, 6):
            self.lineage.hold(copy, octets)
        return copy

    def _send(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        serial, way, octets = rest
        made = state.injections.get(serial) or self._forwarded(state, octets)
        copy = None
        if made is not None:
            copy = self.lineage.choose(made.copies, host, f"sent {way}", octets)
            if copy is not None:
                copy.places.add((host, f"sent {way}"))
                self.lineage.hold(copy, octets)
                serial = copy.injection[1] if copy.injection is not None else serial
        yield event.Send(
            time=time, packet=copy.packet if copy is not None else 0, copy=copy.number if copy is not None else 0,
            injection=serial, handle=made.handle if made is not None else 0, way=way, octets=octets,
        )  # fmt: skip

    def _forwarded(self, state: HostState, octets: bytes) -> Injected | None:
        """A forward injection is sent with a mark that names no record: the latest with these octets is meant."""
        found = identity_of(octets)
        for serial in reversed(state.forwards):
            made = state.injections[serial]
            if found is not None and any(copy.key == found.key and not copy.gone for copy in made.copies):
                return made
        return None

    def _complete(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        serial, handle, function, status = rest
        made = state.injections.get(serial)
        copy = made.copies[0] if made is not None and made.copies else None
        if made is not None and status != "SUCCESS":
            for item in made.copies:
                if not item.gone:
                    name = FUNCTION_NAMES[function]
                    self.lineage.end(item, f"{name} of handle {handle} at {self.hosts[host].name} ended with {status}")
        yield event.Complete(
            time=time, packet=copy.packet if copy is not None else 0, copy=copy.number if copy is not None else 0,
            injection=serial, handle=handle, function=FUNCTION_NAMES[function], status=status,
        )  # fmt: skip

    # -- the rest ---------------------------------------------------------------------------------------

    def _violation(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        number, rule, call, message, handle = rest
        packet, copy = _numbers(state.sights.get(number))
        yield event.Violation(
            time=time, packet=packet, copy=copy, rule=rule, call=call, message=message, handle=handle
        )

    def _loss(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        cause, packets = rest
        state.lost[cause] = state.lost.get(cause, 0) + packets
        yield event.Loss(time=time, cause=cause, packets=packets)

    def _filter(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        filter_id, title, layer, callout, function = rest
        told = f"callout {callout}, {function}" if callout else "no callout"
        state.filters[filter_id] = f"filter {filter_id} ({title + ': ' if title else ''}{told})"
        yield event.Filter(
            time=time, filter=filter_id, title=title, layer=layer, callout=callout, function=function
        )

    def _wire(self, time: int, host: int, state: HostState, rest: tuple[Any, ...]) -> Iterator[AnyEvent]:
        interface, direction, length, finished, frame = rest
        outgoing = direction == _OUTGOING
        copy = None
        if frame[12:14] in _ETHERTYPES:
            copy = self.lineage.sighted(
                time, host, WIRE_OUT if outgoing else WIRE_IN, f"{interface} {'out' if outgoing else 'in'}",
                frame[_ETHERNET:], looped=interface == "lo",
            )  # fmt: skip
        by, serial = copy.injection if copy is not None and copy.injection is not None else (-1, 0)
        yield event.Wire(
            time=time, packet=copy.packet if copy is not None else 0, copy=copy.number if copy is not None else 0,
            interface=interface, outgoing=outgoing, length=length, finished=finished, injection=serial,
            injector=self.hosts[by].name if by >= 0 else "", octets=frame,
        )  # fmt: skip

    def _interface(self, host: int, index: int) -> str:
        return self.hosts[host].interfaces.get(str(index), str(index)) if index else ""


def _numbers(sight: Sight | None) -> tuple[int, int]:
    return (sight.copy.packet, sight.copy.number) if sight is not None else (0, 0)
