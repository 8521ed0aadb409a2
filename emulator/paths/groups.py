"""Groups of forwarded fragments: collected, and shown together once the last one has come.

Each fragment is shown alone first.  What a group's decision is, its fragments share: they wait for it in the
queue.  A group that does not become complete is dropped, as a reassembly would be.
Source: FW-4, FW-6, NB-24.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emulator.ledger import Record
from emulator.octets import FRAGMENT_HEADER_SIZE, IpView, fragment_header_offset
from emulator.paths.indicated import PathIndication
from emulator.paths.plans import FORWARD
from emulator.wfptypes import ConditionFlag

if TYPE_CHECKING:
    from emulator.indication import Indication
    from emulator.paths.held import Held
    from emulator.paths.packets import PacketPath

GROUPS_KEPT: Final = 256
FRAGMENTS_KEPT: Final = 4096
"""Together with the number of groups a bound on what an attacker can make us hold."""
GROUP_SECONDS: Final = 30.0
"""As long as Linux waits for the fragments of a packet."""
_GROUP = int(ConditionFlag.IS_FRAGMENT_GROUP)

_Member = tuple["Held", "Record | None"]


class _Group:
    def __init__(self, began: float) -> None:
        self.began = began
        self.members: list[_Member] = []
        self.octets = 0
        self.size = -1
        """Of the whole, once the last fragment has come."""


class FragmentGroups:
    """The unfinished groups of one host."""

    def __init__(self, path: PacketPath) -> None:
        self._path = path
        self._groups: dict[tuple[object, ...], _Group] = {}
        self._held = 0
        self.now = 0.0
        """Seconds; its owner keeps it right."""

    def add(self, held: Held, record: Record | None) -> None:
        """Take a fragment that may go on by itself; the last one of its group has the group shown."""
        view = held.view
        key = (view.version, view.source, view.destination, view.protocol, view.identification)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(self.now)
        group.members.append((held, record))
        self._held += 1
        size = view.end - view.start - _data_offset(view)
        group.octets += size
        if not view.more_fragments:
            group.size = view.fragment_offset + size
        if group.octets == group.size:
            self._take(key)
            self._show(group)
        elif len(self._groups) > GROUPS_KEPT or self._held > FRAGMENTS_KEPT:
            self._drop(next(iter(self._groups)))

    def expire(self) -> None:
        """Drop groups that have waited too long."""
        for key in [key for key, group in self._groups.items() if self.now - group.began >= GROUP_SECONDS]:
            self._drop(key)

    def give_up(self) -> None:
        """Drop all unfinished groups: the host is being closed."""
        for key in list(self._groups):
            self._drop(key)

    def _take(self, key: tuple[object, ...]) -> _Group:
        group = self._groups.pop(key)
        self._held -= len(group.members)
        return group

    def _drop(self, key: tuple[object, ...]) -> None:
        for held, _ in self._take(key).members:
            self._path.keep_or_drop(held, absorbed=False)

    def _show(self, group: _Group) -> None:
        """Show a whole group as a chain of lists, and do with all its fragments what is decided."""
        group.members.sort(key=lambda member: member[0].view.fragment_offset)
        seen = self._indicate(group)
        for held, record in group.members:
            if seen is None:
                self._path.let_go(held, record)
            else:
                self._path.keep_or_drop(held, absorbed=seen.absorbed)

    def _indicate(self, group: _Group) -> Indication | None:
        course = self._path.course
        first = group.members[0][0]
        arrival = first.packet.arrival
        step = course.plans[FORWARD, first.version, 0].steps[0]
        shown: list[PathIndication] = []
        for held, record in group.members:
            history = record.history if record is not None else ()
            shown.append(PathIndication(course.core, step, held, history, arrival.in_device, _GROUP))
        items = [seen.net_buffer_list for seen in shown]
        for item, following in zip(items, items[1:], strict=False):
            assert item is not None
            item.next = following
        seen = shown[0]
        passed = course.engine.classify(seen)
        for item in items:
            assert item is not None
            course.core.ownership.retire(item)
        return None if passed else seen


def _data_offset(view: IpView) -> int:
    """Octets in front of a fragment's share of the datagram."""
    if view.version == 4:
        return view.header_size
    at = fragment_header_offset(view)
    return view.header_size if at is None else at + FRAGMENT_HEADER_SIZE - view.start
