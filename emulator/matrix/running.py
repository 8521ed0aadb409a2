"""Running cells one after the other, on as few beds as do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from emulator.matrix.cells import FAILED, NOT_EMULATED, PASSED, Cell
from emulator.matrix.measuring import measure
from emulator.matrix.place import Place
from emulator.run.interrupts import TimedOut, deadline
from emulator.topology import HostOptions, Pair, Routed
from netns.patience import patient

CELL_SECONDS = 60.0

Told = Callable[[Cell], None]


def run(cells: Sequence[Cell], options: HostOptions, *, begins: Told, ended: Told) -> None:
    """Measure every cell that can be run here, in order; what each came to is in the cell.

    `begins` and `ended` are told of each.  Raises LabError when a bed cannot be built, KeyboardInterrupt.
    """
    with _Places(options) as places:
        for cell in cells:
            if cell.status == NOT_EMULATED:
                continue
            begins(cell)
            kind = Routed if cell.layer.startswith("IPFORWARD") else Pair
            place = places.of(kind, cell)
            if not _measured(place, cell):
                places.give_up(kind)
            ended(cell)


def _measured(place: Place, cell: Cell) -> bool:
    try:
        with deadline(patient(CELL_SECONDS), cell.name):
            return measure(place, cell)
    except TimedOut as error:
        cell.status, cell.reason = FAILED, str(error)
        return False


class _Places:
    """The beds in use.  When one is given up its books are closed: when they do not, all its cells have failed."""

    def __init__(self, options: HostOptions) -> None:
        self._options = options
        self._places: dict[type, Place] = {}
        self._cells: dict[type, list[Cell]] = {}

    def of(self, kind: type[Pair] | type[Routed], cell: Cell) -> Place:
        """The bed of a kind, for this cell."""
        if kind not in self._places:
            self._places[kind] = Place(kind, self._options)
            self._cells[kind] = []
        self._cells[kind].append(cell)
        return self._places[kind]

    def give_up(self, kind: type) -> None:
        """Close a bed; the next cell that needs one gets a new one."""
        place, cells = self._places.pop(kind), self._cells.pop(kind)
        wrong = ""
        try:
            place.bed.close_stacks()
        except Exception as error:  # the host's own thread has failed: nothing it has said can be trusted
            wrong = f"the host could not be closed: {type(error).__name__}: {error}"
        finally:
            place.close()
        if not wrong and not place.stack.books.closed:
            wrong = f"the books do not close: {place.stack.books.as_dict()}"
        if wrong and all(cell.status == PASSED for cell in cells):  # else it comes of the one that has failed
            for cell in cells:
                cell.status, cell.reason = FAILED, wrong

    def __enter__(self) -> _Places:
        return self

    def __exit__(self, *_: object) -> None:
        for kind in list(self._places):
            self.give_up(kind)
