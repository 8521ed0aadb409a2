"""Measuring the cells of S4 to S7 with datagrams and ICMP errors: control, withheld, injected, control."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from emulator.driver import Driver
from emulator.matrix.again import EXTRA, Again, Edit
from emulator.matrix.cells import Cell
from emulator.matrix.lines import Arrival, Datagrams, Errors, Line
from emulator.matrix.place import IN, OTHER_PORT, OUT, PORT, THROUGH, Place, Way
from emulator.matrix.rows import EDITED, NEW
from emulator.matrix.triggers import Trigger
from emulator.octets import UDP, IpView
from emulator.wfptypes import AddressFamily

_TOKENS = [b"first", b"second", b"third"]
_WAYS = {
    "INBOUND_IPPACKET": (IN,), "OUTBOUND_IPPACKET": (OUT,), "IPFORWARD": (THROUGH,), "INBOUND_TRANSPORT": (IN,),
    "OUTBOUND_TRANSPORT": (OUT,), "DATAGRAM_DATA": (OUT, IN), "INBOUND_ICMP_ERROR": (IN,),
    "OUTBOUND_ICMP_ERROR": (OUT,), "ALE_AUTH_CONNECT": (OUT,), "ALE_AUTH_RECV_ACCEPT": (IN,),
    "ALE_FLOW_ESTABLISHED": (OUT, IN), "STREAM": (OUT, IN), "STREAM_PACKET": (OUT, IN),
}  # fmt: skip


class Unlike(Exception):
    """Raised when something was seen that is not as it should be: the cell has failed."""


def ways_of(layer: str) -> tuple[str, ...]:
    """The directions in which packets are shown at a layer group."""
    return _WAYS[layer.removesuffix("_DISCARD")]


def line_of(place: Place, layer: str, way: str, family: AddressFamily) -> Line:
    """Traffic that this layer is shown, one way."""
    if "ICMP_ERROR" in layer:
        return Errors(place, way, family)
    return Datagrams(place, way, family, fresh=layer.startswith("ALE_"))


def expect(what: str, seen: object, wanted: object) -> None:
    """Raise Unlike unless both are equal."""
    if seen != wanted:
        raise Unlike(f"{what}: expected {wanted!r}, seen {seen!r}")


@contextmanager
def loaded(place: Place, trigger_name: str) -> Iterator[tuple[Driver, Trigger]]:
    """A driver with its trigger, unloaded at the end; what it broke, leaked or was refused raises Unlike."""
    stack = place.stack
    driver, trigger = place.emulated.driver("sampler"), Trigger(trigger_name, stack)
    try:
        yield driver, trigger
        driver.remove(*driver.filters)
        trigger.drain()
        stack.settle()
    finally:
        trigger.release()  # what still waits after a failure: nothing may stay with the driver
        trigger.close()
        driver.unload()
    core = stack.core
    expect("broken rules", [str(item) for item in core.violations], [])
    expect("leaks", core.leaks(), [])
    expect("refused by Linux", [str(error) for _, error in core.lab_errors], [])


def measure_packets(place: Place, cell: Cell, family: AddressFamily) -> str:
    """One cell, in every direction of its layer; what was seen, in words.

    Raises Unlike, CanaryLost, LabError, TimeoutError.
    """
    told = []
    for way in ways_of(cell.layer):
        line = line_of(place, cell.layer, way, family)
        try:
            told.append(_one_way(place, cell, line, place.way(way, family)))
        finally:
            line.close()
    return ", ".join(told)


def _one_way(place: Place, cell: Cell, line: Line, way: Way) -> str:
    plain = Arrival(b"before", _sender(line, way))
    expect("control before", exchanged(place, line, [b"before"]), [plain])
    edit = edit_of(way)
    with loaded(place, cell.trigger) as (driver, trigger):
        callout = Again(driver, line.family, trigger, cell.source, wanted=is_ours, edit=edit)
        driver.add(callout, cell.layer, line.family)
        if trigger.inline:
            callout.withhold = True
            expect("blocked and withheld", exchanged(place, line, [b"withheld"]), [])
            expect("blocked", sum(callout.taken.values()), 1)
            callout.withhold = False
            arrived = exchanged(place, line, _TOKENS)
        else:
            trigger.holding = True
            for token in _TOKENS:
                line.send(token)
            line.canary()
            expect("while the injections wait", line.taken(), [])
            expect("blocked", sum(callout.taken.values()), len(_TOKENS))
            trigger.release()
            trigger.drain()
            place.stack.settle()
            line.canary()
            arrived = line.taken()
        expect("arrived", arrived, [_injected(cell.source, token, line, way, edit) for token in _TOKENS])
        finished(place, callout, driver, trigger, len(_TOKENS))
        expect("shown again", callout.again, len(_TOKENS) if _shown_again(cell) else 0)
    expect("control after", exchanged(place, line, [b"after"]), [Arrival(b"after", plain.source)])
    return f"{way.name}: {len(_TOKENS)} {line.protocol}"


def finished(place: Place, callout: Again, driver: Driver, trigger: Trigger, injections: int | None = None) -> None:
    """Every injection was made where the trigger says, and has succeeded; `injections` None takes any number."""
    trigger.drain()
    place.stack.settle()
    expect("injected at", trigger.levels, {trigger.name})
    if injections is not None:
        expect("injected", callout.injected, injections)
    expect("completions", driver.done.counted(), {"SUCCESS": callout.injected})


def exchanged(place: Place, line: Line, tokens: list[bytes]) -> list[Arrival]:
    """Send, and tell what has arrived by the time a canary has."""
    for token in tokens:
        line.send(token)
    line.canary()
    place.stack.settle()
    line.canary()
    return line.taken()


def edit_of(way: Way) -> Edit:
    """What S6 changes on a way: to whom packets go, and for those that come in who they are from."""
    if way.name == IN:
        return Edit(source=way.other_from, destination_port=OTHER_PORT)
    return Edit(destination=way.other_to, destination_port=OTHER_PORT)


def _injected(source: str, token: bytes, line: Line, way: Way, edit: Edit) -> Arrival:
    """What the far end has to get of an injected packet."""
    if source == NEW:
        return Arrival(token + EXTRA, _sender(line, way))
    if source == EDITED:
        redirected = way.name != IN or line.protocol == "udp"
        return Arrival(token, edit.source or _sender(line, way), redirected)
    return Arrival(token, _sender(line, way))


def _sender(line: Line, way: Way) -> str:
    return way.sender.address(line.family)


def is_ours(view: IpView) -> bool:
    """Datagrams of the line, redirected or not, and ICMP errors; not canaries, nor neighbour discovery."""
    if view.protocol == UDP:
        return view.destination_port in (PORT, OTHER_PORT)
    return view.is_icmp and view.icmp_type in ((3,) if view.version == 4 else (1,))


def _shown_again(cell: Cell) -> bool:
    """Whether the layer sees what was injected: what is forwarded no layer does, and a flow is established once."""
    if cell.layer == "ALE_FLOW_ESTABLISHED":
        return cell.source == EDITED
    return cell.layer != "IPFORWARD"
