"""The injection handle: a right to inject on some paths, for some address family, until destroyed.

A handle does no I/O.  What it accepts goes to its host, which performs it and completes it here.
"""

from __future__ import annotations

import threading
from threading import get_ident
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
from emulator.injection import FUNCTION_NAMES, TRANSPORT_SEND, HeldSendParams, Injection
from emulator.ledger import injection_state
from emulator.netbuffer import DRIVER, FREED, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.wfptypes import DEFAULT_INJECTION_TYPES, AddressFamily, InjectionState, InjectionType, WindowsVersion

if TYPE_CHECKING:
    from emulator.core import Core


class InjectionHandle(InjectionCalls, StreamCalls):
    """A right to inject: which functions, which address family, until destroyed.

    Handles are equal only to themselves (HC-16).  The injection calls are `network_send`,
    `network_receive`, `transport_send`, `transport_receive`, `forward` and `stream_inject`.
    Source: HC-1..HC-19, HD-1..HD-9.
    """

    __slots__ = ("core", "ledger", "family", "types", "type_bits", "number", "closing", "dead", "in_flight", "_changed")

    def __init__(self, core: Core, family: AddressFamily, types: InjectionType, number: int) -> None:
        self.core = core
        self.ledger = core.ledger
        self.family = family
        self.types = types
        self.type_bits = int(types)
        self.number = number
        self.closing = False
        self.dead = False
        self.in_flight: dict[Injection, None] = {}
        """Accepted and not yet completed; a dict because adding to and taking from one is atomic."""
        self._changed = threading.Condition()

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

    def is_mine(self, net_buffer_list: NetBufferList) -> bool:
        """True when this handle injected the packet, now or earlier: let such a packet pass (QS-10)."""
        for entry in net_buffer_list.history:  # noqa: SIM110  a generator costs more than the rest of a packet's check
            if entry[0] is self:
                return True
        return False

    # -- completing and destroying -----------------------------------------------------------------------

    def complete(self, injection: Injection, status: NtStatus, *, dispatch_level: bool = True) -> None:
        """Give the list back to the driver with a status, by calling its completion function.

        What the completion function raises is recorded as a violation.  A schedule may put it off.
        Source: CF-1..CF-9.
        """
        hold = self.core.hold_completion
        if hold is None or not hold(injection, lambda: self._give_back(injection, status, dispatch_level)):
            self._give_back(injection, status, dispatch_level)

    def _give_back(self, injection: Injection, status: NtStatus, dispatch_level: bool) -> None:
        core = self.core
        item = injection.net_buffer_list
        if injection.send_params is not None:
            self._check_buffers(injection.send_params)
        if core.scramble_offsets or injection.scramble:
            item.advance(min(_SCRAMBLE, *(buffer.data_length for buffer in item.net_buffers())))
        item.status = status
        item.state = DRIVER
        if core.on_complete is not None:
            core.on_complete(injection, status)
        thread = get_ident()
        elsewhere = thread not in core.dispatch_threads
        if elsewhere:
            core.dispatch_threads.add(thread)
        try:
            injection.completion(injection.completion_context, item, dispatch_level)
        except Exception as error:  # the driver's own fault: told, and the run goes on
            core.callback_raised("completion function", error, handle=self)
        finally:
            if elsewhere:
                core.dispatch_threads.discard(thread)
            self.finished(injection)

    def _check_buffers(self, params: HeldSendParams) -> None:
        changed = params.died_early()
        if changed is not None:
            self.core.violate(
                _BUFFER_RULES[changed],
                FUNCTION_NAMES[TRANSPORT_SEND],
                f"{changed} no longer holds what it held at the call: keep it as it is until completion",
                handle=self,
            )

    def finished(self, injection: Injection) -> None:
        """Take an injection out of flight; whoever waits in `destroy` is told.  Source: HD-2."""
        del self.in_flight[injection]
        if self.closing:
            with self._changed:
                self._changed.notify_all()

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
_SCRAMBLE = 20
_BUFFER_RULES = {"remoteAddress": "TS-7", "controlData": "TS-10", "headerIncludeHeader": "TS-12"}


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
