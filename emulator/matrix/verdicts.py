"""Measuring the cells of S1 to S3 on packets: block, permit, continue, decide by chance, look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.indication import Indication
from emulator.layers import layer_of
from emulator.matrix.cells import BY_FILTER, Cell
from emulator.matrix.injecting import exchanged, expect, is_ours, line_of, loaded, ways_of
from emulator.matrix.lines import Arrival, Line
from emulator.matrix.place import Place, Way
from emulator.matrix.rows import INLINE
from emulator.wfptypes import Action, AddressFamily

_TOKENS = [b"first", b"second", b"third"]
_CHANCES = {"block": 50, "permit": 25, "continue": 25}
"""Per cent; the sample's defaults."""
_SEED = 7
_DRAWN = 12
DECISIONS: dict[str, Callable[[Indication], None]] = {
    "block": Indication.block, "permit": Indication.permit, "continue": Indication.continue_,
}  # fmt: skip


class Verdict(Callout):
    """Decides about packets of the line, each as `decide` says; everything else may pass.

    Its filter is of the kind that may go on: at a terminating one CONTINUE blocks (CO-16).
    """

    def __init__(self, decide: Callable[[Indication], None]) -> None:
        self.decide = decide
        self.asked = 0

    def classify(self, seen: Indication) -> None:
        if not is_ours(seen.view):
            return seen.permit()
        self.asked += 1
        return self.decide(seen)


class Look(Callout):
    """Reads everything that a layer tells, and decides nothing."""

    def __init__(self) -> None:
        self.shown: list[bytes] = []
        self.reasons: list[object] = []
        """Why they were dropped, where the layer shows what was."""

    def classify(self, seen: Indication) -> None:
        if is_ours(seen.view):
            assert len(seen.values) == len(seen.info.fields)
            self.shown.append(seen.payload)
            if seen.info.discard:
                self.reasons.append(seen.metadata.discard_metadata)
        seen.continue_()


def measure_verdict(place: Place, cell: Cell, family: AddressFamily) -> str:
    """One cell of S1, in every direction of its layer; what was seen, in words.

    Raises Unlike, CanaryLost, LabError, TimeoutError.
    """
    told = []
    for line, way in _lines(place, cell.layer, family):
        with _between_controls(place, line, way), loaded(place, INLINE) as (driver, _):
            if cell.trigger == BY_FILTER:
                _plain_filter(driver, cell, way, family)
            else:
                callout = Verdict(DECISIONS[cell.source])
                driver.add(callout, cell.layer, family, action=Action.CALLOUT_UNKNOWN)
            wanted = [] if cell.source == "block" else _arrivals(_TOKENS, line, way)
            expect("arrived", exchanged(place, line, _TOKENS), wanted)
            if cell.trigger != BY_FILTER:
                expect("asked", callout.asked, len(_TOKENS))
        told.append(f"{way.name}: {len(wanted)} of {len(_TOKENS)} {line.protocol}")
    return ", ".join(told)


def measure_random(place: Place, cell: Cell, family: AddressFamily) -> str:
    """One cell of S2: decisions by chance, from a seed; raises as `measure_verdict`."""
    told = []
    for line, way in _lines(place, cell.layer, family):
        tokens = [b"packet %02d" % number for number in range(_DRAWN)]
        drawn = Random(_SEED).choices(list(_CHANCES), weights=list(_CHANCES.values()), k=_DRAWN)
        left = iter(drawn)
        with _between_controls(place, line, way), loaded(place, INLINE) as (driver, _):
            callout = Verdict(lambda seen, left=left: DECISIONS[next(left)](seen))  # type: ignore[misc]
            driver.add(callout, cell.layer, family, action=Action.CALLOUT_UNKNOWN)
            through = [token for token, what in zip(tokens, drawn, strict=True) if what != "block"]
            expect("arrived", exchanged(place, line, tokens), _arrivals(through, line, way))
            expect("asked", callout.asked, len(tokens))
        told.append(f"{way.name}: {len(through)} of {_DRAWN} {line.protocol}")
    return ", ".join(told)


def measure_look(place: Place, cell: Cell, family: AddressFamily) -> str:
    """One cell of S3: everything is looked at, and nothing changed; raises as `measure_verdict`."""
    told = []
    for line, way in _lines(place, cell.layer, family):
        with _between_controls(place, line, way), loaded(place, INLINE) as (driver, _):
            callout = Look()
            group = cell.layer.removesuffix("_DISCARD")
            discards = group != cell.layer
            if discards:
                driver.add(Verdict(Indication.block), group, family)
            driver.add(callout, layer_of(group, family.version, discard=discards), action=Action.CALLOUT_INSPECTION)
            wanted = [] if discards else _arrivals(_TOKENS, line, way)
            expect("arrived", exchanged(place, line, _TOKENS), wanted)
            expect("shown", len(callout.shown), len(_TOKENS))
            expect("with a reason", len(callout.reasons), len(_TOKENS) if discards else 0)
        told.append(f"{way.name}: {len(callout.shown)} {line.protocol}")
    return ", ".join(told)


def _lines(place: Place, layer: str, family: AddressFamily) -> Iterator[tuple[Line, Way]]:
    for name in ways_of(layer):
        line = line_of(place, layer, name, family)
        try:
            yield line, place.way(name, family)
        finally:
            line.close()


@contextmanager
def _between_controls(place: Place, line: Line, way: Way) -> Iterator[None]:
    """The line carries before and after."""
    expect("control before", exchanged(place, line, [b"before"]), _arrivals([b"before"], line, way))
    yield
    expect("control after", exchanged(place, line, [b"after"]), _arrivals([b"after"], line, way))


def _arrivals(tokens: list[bytes], line: Line, way: Way) -> list[Arrival]:
    return [Arrival(token, way.sender.address(line.family)) for token in tokens]


def _plain_filter(driver: Driver, cell: Cell, way: Way, family: AddressFamily) -> None:
    """A filter without a callout, on the first address of the far end: canaries have the second one."""
    field = "IP_DESTINATION_ADDRESS" if cell.layer == "IPFORWARD" else "IP_REMOTE_ADDRESS"
    remote = way.to if cell.layer == "IPFORWARD" or way.other_from is None else way.sender.address(family)
    action = Action.BLOCK if cell.source == "block" else Action.PERMIT
    driver.add(None, cell.layer, family, action=action, where={field: remote})
