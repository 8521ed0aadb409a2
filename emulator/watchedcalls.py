"""Injection handles that look at what is injected, and when its completion comes.

Source: GE-3, GE-13, GE-16, GE-17, CF-6, NS-2, NR-2, TS-2, TR-2, FW-1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.dataflaws import flaws
from emulator.errors import WfpError
from emulator.handle import InjectionHandle
from emulator.injection import (
    FORWARD,
    FUNCTION_NAMES,
    NETWORK_RECEIVE,
    NETWORK_SEND,
    STREAM,
    TRANSPORT_RECEIVE,
    TRANSPORT_SEND,
    Injection,
    SendParams,
)
from emulator.netbuffer import DRIVER, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.octets import describe
from emulator.violations import raw_stack
from emulator.watching import Watch, WatchedList
from emulator.wfptypes import AddressFamily, InjectionState

if TYPE_CHECKING:
    from collections.abc import Callable

    from emulator.core import Core

_VERSIONS = {2: 4, 23: 6}


class WatchedHandle(InjectionHandle):
    """A handle of a host that is watched closely."""

    __slots__ = ("made_stack", "watch")

    def __init__(self, core: Core, *arguments: Any) -> None:
        super().__init__(core, *arguments)
        assert core.watch is not None
        self.watch: Watch = core.watch
        self.made_stack = raw_stack()

    # -- asking -----------------------------------------------------------------------------------------

    def state(self, net_buffer_list: NetBufferList | None) -> tuple[InjectionState, Any]:
        self._asked(net_buffer_list)
        return super().state(net_buffer_list)

    def is_mine(self, net_buffer_list: NetBufferList) -> bool:
        self._asked(net_buffer_list)
        return super().is_mine(net_buffer_list)

    def _asked(self, item: NetBufferList | None) -> None:
        visit = self.watch.visit()
        if visit is not None:
            visit.asked = True
        if isinstance(item, WatchedList):
            item.notes.asked = True

    # -- injecting --------------------------------------------------------------------------------------

    def network_send(self, net_buffer_list: NetBufferList, *rest: Any, **named: Any) -> None:
        self._inject(NETWORK_SEND, super().network_send, net_buffer_list, rest, named)

    def network_receive(self, net_buffer_list: NetBufferList, *rest: Any, **named: Any) -> None:
        self._inject(NETWORK_RECEIVE, super().network_receive, net_buffer_list, rest, named)

    def transport_send(self, net_buffer_list: NetBufferList, *rest: Any, **named: Any) -> None:
        self._inject(TRANSPORT_SEND, super().transport_send, net_buffer_list, rest, named)

    def transport_receive(self, net_buffer_list: NetBufferList, *rest: Any, **named: Any) -> None:
        self._inject(TRANSPORT_RECEIVE, super().transport_receive, net_buffer_list, rest, named)

    def forward(self, net_buffer_list: NetBufferList, *rest: Any, **named: Any) -> None:
        self._inject(FORWARD, super().forward, net_buffer_list, rest, named)

    def stream_inject(self, net_buffer_list: NetBufferList | None, *rest: Any, **named: Any) -> None:
        self._inject(STREAM, super().stream_inject, net_buffer_list, rest, named)

    def _inject(
        self,
        function: int,
        call: Callable[..., None],
        first: NetBufferList | None,
        rest: tuple[Any, ...],
        named: dict[str, Any],
    ) -> None:
        name = FUNCTION_NAMES[function]
        if isinstance(first, bytes | bytearray | memoryview):
            raise TypeError(f"{name} takes a list, not octets: `driver.create(octets)` makes one")
        lists = first.lists() if first is not None else ()
        items = [item for item in lists if isinstance(item, WatchedList) and self._usable(item)]
        found = self._look(function, items, named)
        for item in items:
            item.notes.flight_stack = raw_stack()
            item.notes.digest = item.packets()
        calling = self.core.locks.enter_call(name)
        try:
            call(first, *rest, **named)
        except WfpError as error:
            for item in items:
                item.notes.refused = (name, str(error), raw_stack())
                item.notes.digest = item.notes.flight_stack = None
            raise
        finally:
            self.core.locks.leave_call(calling)
        for item, rule, message, packet in found:
            self.core.violate(rule, name, message, handle=self, item=item, packet=packet)
        for item in items:
            self._injected(item)

    def _usable(self, item: NetBufferList) -> bool:
        return item.state == DRIVER and self.core.ownership.owns(item)

    def _look(
        self, function: int, items: list[WatchedList], named: dict[str, Any]
    ) -> list[tuple[WatchedList, str, str, str]]:
        """What is wrong with lists about to be injected; it counts only when the call accepts them."""
        params = named.get("send_params")
        family = named.get("family", self.family)
        version = _VERSIONS.get(int(family), 0) if isinstance(family, int | AddressFamily) else 0
        found = []
        for item in items:
            packet = describe(item.octets)
            for rule, message in flaws(function, item, version, params if isinstance(params, SendParams) else None):
                found.append((item, rule, message, packet))
            loop = self._again(item)
            if loop:
                found.append((item, "GE-13", loop, packet))
        return found

    def _again(self, item: WatchedList) -> str:
        """Whether the list shows what this handle injected before, and nobody asked for its state."""
        if not any(entry.handle is self for entry in item.history):
            return ""
        if item.notes.asked or (item.notes.visit is not None and item.notes.visit.asked):
            return ""
        times = sum(entry.handle is self for entry in item.history)
        return (
            f"{item!r} was injected by this handle before ({times} times), and its state was not queried: "
            "it will be shown again, and go round"
        )

    def _injected(self, item: WatchedList) -> None:
        visit = item.notes.visit
        if visit is None:
            return
        if visit.ended:
            self.watch.blocked_wrongly(visit, item)
        else:
            visit.injected.append(item)

    # -- completing -------------------------------------------------------------------------------------

    def _give_back(self, injection: Injection, status: NtStatus, dispatch_level: bool) -> None:
        item = injection.net_buffer_list
        if isinstance(item, WatchedList):
            self._check_octets(injection, item)
            item.notes.completed = status.name
        calling = self.core.locks.current_call()
        if calling is not None:
            self.core.locks.came_back("the completion function ran", calling)
        super()._give_back(injection, status, dispatch_level)

    def _check_octets(self, injection: Injection, item: WatchedList) -> None:
        digest, item.notes.digest = item.notes.digest, None
        if digest is not None and item.packets() != digest:
            self.core.violate(
                "GE-3",
                FUNCTION_NAMES[injection.function],
                f"the octets of {item!r} were changed while it was in flight: they are the stack's until completion",
                handle=self,
                item=item,
            )
