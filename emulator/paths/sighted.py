"""A queued packet as it is shown at one layer: its list is made when somebody asks for it.

Who decides by fields alone, or not even by them, spares it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.deciding import NONE, Deciding
from emulator.defaults import set_defaults
from emulator.flatlist import INDICATED, RETIRED, STACK, new_list
from emulator.netbuffer import NetBufferList

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.ledger import History
    from emulator.metadata import Metadata
    from emulator.octets import IpView
    from emulator.paths.held import Held
    from emulator.paths.indicated import PathIndication
    from emulator.paths.steps import Step


class Sighted(Deciding):
    """The part of an indication that is the same for every queued packet at every layer."""

    step: Step
    held: Held
    history: History
    layer_flags: int
    item: NetBufferList | None
    """The list, once made."""
    start: int
    """Where the list's data start was when it was made."""
    offset: int
    """Its data offset then."""
    devices: tuple[int, int] | None
    """Source and destination interface where those are not what the queue says."""
    discard: tuple[int, int, int] | None
    _metadata: Metadata | None
    _values: tuple[Any, ...] | None

    def __init__(self, core: Core, step: Step, held: Held, history: History, interface: int, flags: int) -> None:
        self.core = core
        self.layer = step.layer
        self.inbound = step.inbound
        self.step = step
        self.held = held
        self.history = history
        self.interface = interface
        self.layer_flags = flags
        self.flow = held.flow
        self.flow_context = 0
        self.action = NONE
        self.rights = 1

    @property
    def net_buffer_list(self) -> NetBufferList | None:
        """The packet, at the data start of the layer; None where the layer has none (QS-11, LA-3)."""
        item = self.item
        if item is None and self.step.with_data:
            item = self._show()
        return item

    def _show(self) -> NetBufferList:
        held = self.held
        held.keep_header()
        view = held.seen()
        step = self.step
        if step.whole:
            base = start = view.start
        elif step.transport:
            base = start = view.transport_offset
        else:
            base, start = step.offsets(view)
        item = new_list(NetBufferList, held.packet.payload, start, view.end, STACK, self.history, held)
        item.base = base
        item.state = RETIRED if self.ended else INDICATED
        item.protocol = view.protocol
        item.info = held.info
        self.item = item
        self.start = start
        self.offset = start - base
        return item

    @property
    def memory(self) -> bytearray:
        """The packet's octets, IP header included."""
        return self.held.packet.payload

    @property
    def ip_start(self) -> int:
        """Where the IP header begins in the memory."""
        return self.held.seen().start

    @property
    def ip_end(self) -> int:
        """Where the packet ends in the memory."""
        return self.held.seen().end

    @property
    def view(self) -> IpView:
        """The packet's headers, parsed."""
        return self.held.seen()

    @property
    def condition_flags(self) -> int:
        """The layer's FLAGS field, as a number.  Source: LA-37."""
        return self.layer_flags


def sight(core: Core, step: Step, held: Held, history: History, interface: int, flags: int) -> PathIndication:
    """The same as calling the class that the step names."""
    kind = step.kind
    seen = kind.__new__(kind)
    seen.core = core
    seen.layer = step.layer
    seen.inbound = step.inbound
    seen.step = step
    seen.held = held
    seen.history = history
    seen.interface = interface
    seen.layer_flags = flags
    seen.flow = held.flow
    seen.flow_context = 0
    seen.action = NONE
    seen.rights = 1
    return seen


set_defaults(Sighted, item=None, start=0, offset=0, devices=None, discard=None, _metadata=None, _values=None)
