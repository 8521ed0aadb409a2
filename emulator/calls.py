"""The injection calls of a handle: arguments checked in the decided order, then accepted.

Check order, first failure wins (GE-8): required pointers, reserved and flags, enumerations and address
family, handle validity, handle type, handle family, handle closing, stack ready, format of the list.
"""

from __future__ import annotations

from typing import Any

from emulator.errors import (
    FwpInvalidFlags,
    FwpInvalidParameter,
    FwpNullPointer,
    FwpReserved,
    InjectHandleClosing,
    InjectHandleStale,
    InsufficientResources,
    InvalidHandle,
    NotImplementedInProfile,
    TcpipNotReady,
)
from emulator.flight import ONE_PACKET_ONLY, TYPE_BITS, Flight
from emulator.injection import (
    FORWARD,
    FUNCTION_NAMES,
    FUNCTION_TYPES,
    NETWORK_RECEIVE,
    NETWORK_SEND,
    TRANSPORT_RECEIVE,
    TRANSPORT_SEND,
    CompletionFn,
    Injection,
    SendParams,
    held_params,
)
from emulator.netbuffer import DRIVER, FREED, IN_FLIGHT, POINTER_MASK, NetBufferList, is_aligned
from emulator.octets import UDP
from emulator.wfptypes import AddressFamily, SendInjectFlag, WindowsVersion


class InjectionCalls(Flight):
    """The injection functions as methods of a handle; `InjectionHandle` is the only subclass."""

    def network_send(
        self,
        net_buffer_list: NetBufferList,
        completion: CompletionFn,
        *,
        context: Any = None,
        flags: int = 0,
        compartment: int = 0,
        completion_context: Any = None,
    ) -> None:
        """Send packets that begin with their IP header, as the local host sends: routed by destination.

        On return the list is the stack's until `completion` was called with it, once.  When this raises, it
        is still the caller's and there will be no completion.
        Raises FwpNullPointer, FwpInvalidFlags, FwpInvalidParameter, InvalidHandle, InjectHandleStale,
        InjectHandleClosing, TcpipNotReady, InsufficientResources.  Source: NS-1..NS-21.
        """
        preserve = False
        if flags:
            preserve = flags == SendInjectFlag.PRESERVE_IPID and self.core.header_flags
            flags = 0 if preserve else flags
        injection = self._admit(
            NETWORK_SEND, net_buffer_list, completion, context, completion_context, flags, self.family, compartment
        )
        if preserve:
            injection.preserve_id = True
        self._send(injection)

    def network_receive(
        self,
        net_buffer_list: NetBufferList,
        completion: CompletionFn,
        *,
        interface: int,
        sub_interface: int = 0,
        context: Any = None,
        flags: int = 0,
        compartment: int = 0,
        completion_context: Any = None,
    ) -> None:
        """Let one packet or fragment, from its IP header on, arrive on an interface of this host.

        Interface and sub-interface are the classified ones; ownership and Raises as `network_send`.
        Source: NR-1..NR-16.
        """
        injection = self._admit(
            NETWORK_RECEIVE, net_buffer_list, completion, context, completion_context, flags, self.family, compartment
        )
        injection.interface = interface
        injection.sub_interface = sub_interface
        self.core.submit(injection)

    def transport_send(
        self,
        net_buffer_list: NetBufferList,
        completion: CompletionFn,
        *,
        family: int,
        send_params: SendParams | None = None,
        endpoint: Any = 0,
        context: Any = None,
        flags: int = 0,
        compartment: int = 0,
        completion_context: Any = None,
    ) -> None:
        """Send packets that begin with their transport header; the stack builds the IP header.

        With `send_params` None the data begins with the caller's IP header instead.  The buffers that
        `send_params` names must stay unchanged until completion.  Ownership and Raises as `network_send`.
        Source: TS-1..TS-23.
        """
        known = _FAMILIES.get(family)
        if send_params is not None and net_buffer_list is not None and completion is not None:
            self._check_params(send_params, known, flags)
        elif net_buffer_list is not None and net_buffer_list._first is not None and not net_buffer_list.single:
            self._refuse(TRANSPORT_SEND, net_buffer_list, completion, flags, known, compartment)
            raise FwpInvalidParameter(
                "FwpsInjectTransportSendAsync0: a raw send holds exactly one packet: split the list", rule="TS-14"
            )
        injection = self._admit(
            TRANSPORT_SEND, net_buffer_list, completion, context, completion_context, flags, known, compartment
        )
        injection.endpoint = endpoint
        if send_params is not None:
            injection.send_params = held_params(send_params)
        else:
            self.core.check_alignment(injection)
        if net_buffer_list.protocol != UDP:
            self.core.check_inline_tcp(injection)
        self.core.submit(injection)

    def transport_receive(
        self,
        net_buffer_list: NetBufferList,
        completion: CompletionFn,
        *,
        family: int,
        interface: int,
        sub_interface: int = 0,
        context: Any = None,
        reserved: Any = None,
        flags: int = 0,
        compartment: int = 0,
        completion_context: Any = None,
    ) -> None:
        """Let one packet, from its IP header on, arrive at the bottom of the receive path.

        Ownership and Raises as `network_send`, and FwpReserved.  Source: TR-1..TR-14.
        """
        if reserved and net_buffer_list is not None and completion is not None:
            raise FwpReserved("FwpsInjectTransportReceiveAsync0: reserved must be NULL", rule="TR-1")
        injection = self._admit(
            TRANSPORT_RECEIVE, net_buffer_list, completion, context, completion_context, flags,
            _FAMILIES.get(family), compartment,
        )  # fmt: skip
        injection.interface = interface
        injection.sub_interface = sub_interface
        if net_buffer_list.protocol != UDP:
            self.core.check_inline_tcp(injection)
        self.core.submit(injection)

    def forward(
        self,
        net_buffer_list: NetBufferList,
        completion: CompletionFn,
        *,
        family: int,
        interface: int,
        context: Any = None,
        flags: int = 0,
        compartment: int = 0,
        completion_context: Any = None,
    ) -> None:
        """Send a packet or fragment on its way through this router, out of `interface`.

        The interface is the one the packet leaves by.  No layer sees the packet again.  Ownership and
        Raises as `network_send`.  Source: FW-1..FW-13.
        """
        injection = self._admit(
            FORWARD, net_buffer_list, completion, context, completion_context, flags, _FAMILIES.get(family), compartment
        )
        injection.interface = interface
        self.core.submit(injection)

    def _send(self, injection: Injection) -> None:
        """Have an accepted network send performed."""
        item = injection.net_buffer_list
        if (item.start & POINTER_MASK or item._first is not None) and not is_aligned(item):
            self.core.check_alignment(injection)
        self.core.submit(injection)

    # -- checks -----------------------------------------------------------------------------------------

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
        call = FUNCTION_NAMES[function]
        if net_buffer_list is None:
            raise FwpNullPointer(f"{call}: netBufferList is missing", rule="GE-7")
        if completion is None:
            raise FwpNullPointer(f"{call}: completionFn is missing", rule="NS-7")
        if flags:
            raise FwpInvalidFlags(f"{call}: flags are reserved and must be 0, not {flags:#x}", rule="GE-6")
        if family is None:
            raise FwpInvalidParameter(f"{call}: addressFamily is neither AF_INET nor AF_INET6", rule="TS-6")
        if compartment not in self.core.compartments:
            raise FwpInvalidParameter(f"{call}: there is no compartment {compartment}", rule="NS-5")
        self._refuse_handle(call, function, family)
        self._refuse_list(call, function, net_buffer_list)

    def _refuse_handle(self, call: str, function: int, family: AddressFamily) -> None:
        core = self.core
        if self.dead:
            core.violate("HD-6", call, "the handle was destroyed before", handle=self)
            raise InvalidHandle(f"{call}: {self!r} was destroyed before", rule="HD-6")
        if not self.type_bits & TYPE_BITS[function]:
            raise InjectHandleStale(
                f"{call}: {self!r} does not permit {FUNCTION_TYPES[function].name} injection", rule="ER-2"
            )
        if self.family and self.family != family:
            raise FwpInvalidParameter(f"{call}: {self!r} does not serve {family.name}", rule="HC-18")
        if self.closing:
            raise InjectHandleClosing(f"{call}: {self!r} is being destroyed", rule="HD-4")
        if not core.ready():
            raise TcpipNotReady(f"{call}: {core.not_ready_because()}; try again later", rule="ER-1")

    def _refuse_list(self, call: str, function: int, item: NetBufferList) -> None:
        core = self.core
        if item.next is not None:
            raise FwpInvalidParameter(f"{call}: a chain of lists is not accepted here", rule="NS-18")
        if function in ONE_PACKET_ONLY and not item.single:
            raise FwpInvalidParameter(f"{call}: an incoming list holds exactly one packet", rule="NR-15")
        if item.state != FREED and not core.ownership.owns(item):
            core.violate(
                "GE-20", call, f"{item!r} is not the driver's: inject a clone or a list of its own", handle=self
            )
            raise FwpInvalidParameter(f"{call}: {item!r} is not the driver's to inject", rule="GE-20")
        if item.state != DRIVER:
            rule = "GE-3" if item.state == IN_FLIGHT else "NB-9"
            core.violate(rule, call, f"{item!r} cannot be injected", handle=self)
            raise FwpInvalidParameter(f"{call}: {item!r} cannot be injected", rule=rule)
        if core.deny is not None and core.deny(call):
            raise InsufficientResources(f"{call}: made to fail by fault injection", rule="GE-2")

    def _check_params(self, params: SendParams, family: AddressFamily | None, flags: int) -> None:
        if params.remote_address is None:
            raise FwpNullPointer("FwpsInjectTransportSendAsync0: remoteAddress is missing", rule="TS-7")
        if params.header_include_header is not None and self.core.profile < WindowsVersion.WINDOWS_7:
            raise NotImplementedInProfile("send parameters of version 1 came with Windows 7", rule="VE-1")
        if family is None or flags:
            return  # an earlier rule that `_admit` finds
        want = 4 if family is _INET else 16
        if len(params.remote_address) != want:
            raise FwpInvalidParameter(
                f"FwpsInjectTransportSendAsync0: remoteAddress has {len(params.remote_address)} octets, "
                f"{family.name} needs {want}",
                rule="TS-23",
            )


_INET = AddressFamily.INET
_FAMILIES = {2: _INET, 23: AddressFamily.INET6}
"""By the Windows number; there are others, but no packet can have them."""
