"""The injections of a handle that are in flight: taken in, and given back with a status.

Source: GE-1, GE-3, CF-1..CF-9.
"""

from __future__ import annotations

import threading
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

from emulator.errors import InjectHandleClosing
from emulator.injection import (
    FUNCTION_NAMES,
    FUNCTION_TYPES,
    NETWORK_RECEIVE,
    TRANSPORT_RECEIVE,
    TRANSPORT_SEND,
    CompletionFn,
    HeldSendParams,
    Injection,
    new_injection,
)
from emulator.ledger import entry_of
from emulator.netbuffer import DRIVER, IN_FLIGHT, NetBufferList
from emulator.ntstatus import NtStatus
from emulator.wfptypes import AddressFamily, InjectionType

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.ledger import Ledger

TYPE_BITS = tuple(int(item) for item in FUNCTION_TYPES)
ONE_PACKET_ONLY = (NETWORK_RECEIVE, TRANSPORT_RECEIVE)
_SCRAMBLE = 20
_BUFFER_RULES = {"remoteAddress": "TS-7", "controlData": "TS-10", "headerIncludeHeader": "TS-12"}


class Flight:
    """A handle, as far as its injections in flight go; `InjectionHandle` is the whole of it."""

    core: Core
    ledger: Ledger
    family: AddressFamily
    types: InjectionType
    type_bits: int
    number: int
    closing: bool
    dead: bool
    in_flight: dict[Injection, None]
    """Accepted and not yet completed; a dict because adding to and taking from one is atomic."""
    _changed: threading.Condition

    def __init__(self, core: Core, family: AddressFamily, types: InjectionType, number: int) -> None:
        self.core = core
        self.ledger = core.ledger
        self.family = family
        self.types = types
        self.type_bits = int(types)
        self.number = number
        self.closing = False
        self.dead = False
        self.in_flight = {}
        self._changed = threading.Condition()

    def is_mine(self, net_buffer_list: NetBufferList) -> bool:
        """True when this handle injected the packet, now or earlier: let such a packet pass (QS-10)."""
        for entry in net_buffer_list.history:  # noqa: SIM110  a generator costs more than the rest of a packet's check
            if entry.handle is self:
                return True
        return False

    def complete(self, injection: Injection, status: NtStatus, dispatch_level: bool = True) -> None:
        """Give the list back to the driver with a status, by calling its completion function.

        What the completion function raises is recorded as a violation.  A schedule may put it off.
        Source: CF-1..CF-9.
        """
        hold = self.core.hold_completion
        if hold is None or not hold(injection, partial(self._give_back, injection, status, dispatch_level)):
            self._give_back(injection, status, dispatch_level)

    def _give_back(self, injection: Injection, status: NtStatus, dispatch_level: bool) -> None:
        core = self.core
        item = injection.net_buffer_list
        if injection.send_params is not None:
            self._check_buffers(injection.send_params)
        if core.scramble_offsets or injection.scramble:
            item.advance(min(_SCRAMBLE, *[buffer.data_length for buffer in item.net_buffers()]))
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

    def _admit(
        self,
        function: int,
        net_buffer_list: NetBufferList,
        completion: CompletionFn,
        context: Any,
        completion_context: Any,
        flags: int,
        family: AddressFamily | None,
        compartment: int,
    ) -> Injection:
        """Check everything and take the list into flight; the ordinary way is a few comparisons."""
        core = self.core
        if (
            flags
            or net_buffer_list is None
            or completion is None
            or family is None
            or not self.type_bits & TYPE_BITS[function]
            or (family is not self.family and self.family)
            or not 0 <= compartment <= 1
            or self.closing
            or core.not_ready
            or net_buffer_list.state
            or net_buffer_list.next is not None
            or (net_buffer_list._first is not None and function in ONE_PACKET_ONLY)
            or net_buffer_list not in core.ownership.live
            or core.deny is not None
        ):
            self._refuse(function, net_buffer_list, completion, flags, family, compartment)
        ledger = self.ledger
        ledger.serial = serial = ledger.serial + 1
        entry = entry_of(self, context, serial)
        history = net_buffer_list.history
        injection = new_injection(
            function, self, context, net_buffer_list, completion, completion_context, family,  # type: ignore[arg-type]
            (*history, entry) if history else (entry,),
        )  # fmt: skip
        # Adding comes before looking: a destroy that begins in between sees what was added, so the
        # packet's way needs no lock.
        self.in_flight[injection] = None
        if self.closing:
            self.finished(injection)
            raise InjectHandleClosing(f"{self!r} is being destroyed", rule="HD-4")
        net_buffer_list.state = IN_FLIGHT
        return injection

    def _refuse(
        self,
        function: int,
        net_buffer_list: NetBufferList | None,
        completion: CompletionFn | None,
        flags: int,
        family: AddressFamily | None,
        compartment: int,
    ) -> None:
        """Raise what the first broken rule asks for; return when nothing is wrong after all."""
        raise NotImplementedError
