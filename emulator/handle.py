"""The injection handle: a right to inject on some paths, for some address family, until destroyed.

A handle does no I/O.  What it accepts goes to its host, which performs it and completes it here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.calls import InjectionCalls
from emulator.calls_stream import StreamCalls
from emulator.errors import (
    FwpInvalidFlags,
    FwpInvalidParameter,
    InsufficientResources,
    InvalidHandle,
    TcpipNotReady,
    Unsuccessful,
)
from emulator.ledger import injection_state
from emulator.netbuffer import FREED, NetBufferList
from emulator.wfptypes import DEFAULT_INJECTION_TYPES, AddressFamily, InjectionState, InjectionType, WindowsVersion

if TYPE_CHECKING:
    from emulator.core import Core


class InjectionHandle(InjectionCalls, StreamCalls):
    """A right to inject: which functions, which address family, until destroyed.

    Handles are equal only to themselves (HC-16).  The injection calls are `network_send`,
    `network_receive`, `transport_send`, `transport_receive`, `forward` and `stream_inject`.
    Source: HC-1..HC-19, HD-1..HD-9.
    """

    def state(self, net_buffer_list: NetBufferList | None) -> tuple[InjectionState, Any]:
        """Whether this handle, another or none injected the packet, and the injection context.

        The context is None unless the state is INJECTED_BY_SELF or PREVIOUSLY_INJECTED_BY_SELF.
        A missing or no longer valid list, or a dead handle, is a violation and answers NOT_INJECTED.
        Source: QS-1..QS-14, HD-6.
        """
        if self.dead or net_buffer_list is None or net_buffer_list.state >= FREED:
            return self._misasked(net_buffer_list)
        return injection_state(net_buffer_list.history, self)

    def _misasked(self, net_buffer_list: NetBufferList | None) -> tuple[InjectionState, Any]:
        if self.dead:
            rule, what = "HD-6", "the handle was destroyed"
        elif net_buffer_list is None:
            rule, what = "QS-11", "there is no list"
        else:
            rule, what = "NB-11", f"{net_buffer_list!r} is no longer valid: reference it during classify"
        self.core.violate(rule, "FwpsQueryPacketInjectionState0", what, handle=self)
        return InjectionState.NOT_INJECTED, None

    # -- destroying -----------------------------------------------------------------------

    def destroy(self) -> None:
        """Refuse new injections, then return once none is pending.

        Raises InvalidHandle (destroyed before, or being destroyed), Unsuccessful (called where it would wait
        for itself); both are violations.  Source: HD-1..HD-8.
        """
        call = "FwpsInjectionHandleDestroy0"
        if not self.dead and self.core.at_dispatch():
            self.core.violate(
                "HD-5", call, "called from a classify or completion function, which it may wait for", handle=self
            )
            raise Unsuccessful(f"{call} may only be called at PASSIVE_LEVEL", rule="HD-5")
        with self._changed:
            again = self.closing
            self.closing = True
        if again:
            self.core.violate("HD-6", call, "the handle was destroyed before", handle=self)
            raise InvalidHandle(f"{self!r} was destroyed before", rule="HD-6")
        with self._changed:
            while self.in_flight:
                self._changed.wait()
        self.dead = True
        self.core.handle_gone(self)

    @property
    def pending(self) -> int:
        """Injections accepted whose completion function has not returned yet (HD-3)."""
        return len(self.in_flight)

    def __enter__(self) -> InjectionHandle:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.dead:
            self.destroy()

    def __repr__(self) -> str:
        types = "|".join(flag.name or "" for flag in InjectionType if flag in self.types)
        return f"<handle {self.number} {self.family.name} {types}>"


_ALL_TYPES = 0x3F


def create_handle(core: Core, family: int, flags: int) -> InjectionHandle:
    """A new handle of this host for an address family (Windows numbers) and some injection types.

    `flags` 0 stands for transport, stream and forward.  The caller owns the handle and destroys it.
    Raises FwpInvalidFlags (undefined types), FwpInvalidParameter (family unknown, or missing for network
    injection), TcpipNotReady, InsufficientResources.  Source: HC-1..HC-19.
    """
    call = "FwpsInjectionHandleCreate0"
    if core.at_dispatch():
        core.violate("GE-5", call, "called from a classify or completion function; it needs PASSIVE_LEVEL")
    if flags & ~_ALL_TYPES:
        raise FwpInvalidFlags(f"{call}: flags {flags:#x} hold undefined types", rule="HC-14")
    types = InjectionType(flags or DEFAULT_INJECTION_TYPES)
    new = types & (InjectionType.L2 | InjectionType.VSWITCH_TRANSPORT)
    if new and core.profile < WindowsVersion.WINDOWS_8:
        raise FwpInvalidFlags(f"{call}: {new!r} came with Windows 8", rule="HC-17")
    if types == InjectionType.L2 and family not in (0, 2, 23):
        family = 0
    try:
        known = AddressFamily(family)
    except ValueError:
        hint = "; AF_INET6 is 23 on Windows, 10 is Linux's number" if family == 10 else ""
        raise FwpInvalidParameter(f"{call}: unknown address family {family}{hint}", rule="HC-6") from None
    if known == AddressFamily.UNSPEC and InjectionType.NETWORK in types:
        raise FwpInvalidParameter(
            f"{call}: network injection needs AF_INET or AF_INET6: make one handle for each", rule="HC-11"
        )
    if not core.ready():
        raise TcpipNotReady(f"{call}: {core.not_ready_because()}; try again later", rule="HC-13")
    if core.deny is not None and core.deny(call):
        raise InsufficientResources(f"{call}: made to fail by fault injection", rule="GE-2")
    return core.add_handle(known, types)
