"""The callouts that are measured: what a driver does with a packet, and nothing for show."""

from __future__ import annotations

from typing import Any

from emulator.callout import Callout
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.netbuffer import NetBufferList
from emulator.ownership import Ownership

EDITED_OCTET = b"y"
LAST = 63
"""Of the data in the load's datagrams."""


class PermitAll(Callout):
    """Permits, and looks at nothing."""

    def classify(self, seen: Indication) -> None:
        """Permit."""
        seen.permit()


class HoldSome(Callout):
    """Holds the first packets, by a clone each that it keeps, and permits all others."""

    def __init__(self, ownership: Ownership, number: int) -> None:
        self._ownership = ownership
        self._left = number
        self.clones: list[NetBufferList] = []

    def classify(self, seen: Indication) -> None:
        """Hold or permit."""
        item = seen.net_buffer_list
        if item is None or not self._left:
            seen.permit()
            return
        self._left -= 1
        self.clones.append(self._ownership.clone(item))
        seen.block(absorb=True)


class _Reinjecting(Callout):
    def __init__(self, handle: InjectionHandle, ownership: Ownership) -> None:
        self._handle = handle
        self._ownership = ownership

    def _done(self, context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        self._ownership.free_clone(item)


class ReinjectForwarded(_Reinjecting):
    """At IPFORWARD: blocks each packet, and injects a clone of it with one octet changed."""

    def classify(self, seen: Indication) -> None:
        """Block and inject what nobody injected."""
        item = seen.net_buffer_list
        if item is None or self._handle.is_mine(item):
            seen.permit()
            return
        clone = self._ownership.clone(item)
        clone.write(28 + LAST, EDITED_OCTET)
        self._handle.forward(clone, self._done, family=2, interface=seen.destination_interface)
        seen.block(absorb=True)


class ReinjectOutbound(_Reinjecting):
    """At OUTBOUND_TRANSPORT: the same; the clone is sent as the socket sent the packet, and passes again."""

    def classify(self, seen: Indication) -> None:
        """Block and inject what nobody injected."""
        item = seen.net_buffer_list
        if item is None or self._handle.is_mine(item):
            seen.permit()
            return
        clone = self._ownership.clone(item)
        clone.write(8 + LAST, EDITED_OCTET)
        self._handle.transport_send(
            clone, self._done, family=2, endpoint=seen.endpoint, send_params=SendParams(seen.view.destination)
        )
        seen.block(absorb=True)
