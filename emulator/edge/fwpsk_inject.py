"""Handles, their state query, and the packet injection functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emulator.edge.fwpsk_edge import Edge, as_status, handle_of
from emulator.edge.fwpsk_structs import FWPS_TRANSPORT_SEND_PARAMS0, FWPS_TRANSPORT_SEND_PARAMS1, Buffer
from emulator.errors import FwpNullPointer
from emulator.handle import InjectionHandle
from emulator.injection import SendParams
from emulator.netbuffer import NetBufferList
from emulator.wfptypes import InjectionState, WindowsVersion

CompletionFn = Callable[[Any, NetBufferList, bool], object]
"""completionFn(completionContext, netBufferList, dispatchLevel).  Source: CF-1."""
NBL = NetBufferList | None
COMPLETE = CompletionFn | None


class InjectFunctions(Edge):
    """Injection handles and the network, transport and forward functions.

    Refused, a call never completes and the caller keeps the list; accepted, the list is the stack's until
    completionFn got it, once.  Source: GE-1..GE-8.
    """

    @as_status(out=True)
    def FwpsInjectionHandleCreate0(self, addressFamily: int, flags: int) -> InjectionHandle:
        """A handle for injecting and querying; the caller destroys it.  Source: HC-1..HC-19."""
        return self.core.create_handle(addressFamily, flags)

    @as_status()
    def FwpsInjectionHandleDestroy0(self, injectionHandle: Any) -> None:
        """Refuse new injections, return once none is pending.  Source: HD-1..HD-9."""
        handle_of(self.core, injectionHandle).destroy()

    def FwpsQueryPacketInjectionState0(
        self, injectionHandle: Any, netBufferList: NBL
    ) -> tuple[InjectionState, Any]:
        """Who injected a packet, and the injection context, None for a stranger.  Source: QS-1..QS-14."""
        return handle_of(self.core, injectionHandle).state(netBufferList)

    @as_status()
    def FwpsInjectNetworkSendAsync0(
        self,
        injectionHandle: Any,
        injectionContext: Any,
        flags: int,
        compartmentId: int,
        netBufferList: NBL,
        completionFn: COMPLETE,
        completionContext: Any,
    ) -> None:
        """Send packets that begin with their IP header.  Source: NS-1..NS-21."""
        handle_of(self.core, injectionHandle).network_send(
            netBufferList,  # type: ignore[arg-type]  # checked inside, in GE-8's order; so below
            completionFn,  # type: ignore[arg-type]
            context=injectionContext,
            flags=flags,
            compartment=compartmentId,
            completion_context=completionContext,
        )

    @as_status()
    def FwpsInjectNetworkReceiveAsync0(
        self,
        injectionHandle: Any,
        injectionContext: Any,
        flags: int,
        compartmentId: int,
        interfaceIndex: int,
        subInterfaceIndex: int,
        netBufferList: NBL,
        completionFn: COMPLETE,
        completionContext: Any,
    ) -> None:
        """Let a packet or fragment arrive, from its IP header on.  Source: NR-1..NR-16."""
        handle_of(self.core, injectionHandle).network_receive(
            netBufferList,  # type: ignore[arg-type]
            completionFn,  # type: ignore[arg-type]
            interface=interfaceIndex,
            sub_interface=subInterfaceIndex,
            context=injectionContext,
            flags=flags,
            compartment=compartmentId,
            completion_context=completionContext,
        )

    @as_status()
    def FwpsInjectTransportSendAsync0(
        self,
        injectionHandle: Any,
        injectionContext: Any,
        endpointHandle: Any,
        flags: int,
        sendArgs: FWPS_TRANSPORT_SEND_PARAMS0 | None,
        addressFamily: int,
        compartmentId: int,
        netBufferList: NBL,
        completionFn: COMPLETE,
        completionContext: Any,
    ) -> None:
        """Send packets that begin with their transport header.  Source: TS-1..TS-23, DC-1."""
        handle_of(self.core, injectionHandle).transport_send(
            netBufferList,  # type: ignore[arg-type]
            completionFn,  # type: ignore[arg-type]
            family=addressFamily,
            send_params=_send_params(sendArgs),
            endpoint=endpointHandle,
            context=injectionContext,
            flags=flags,
            compartment=compartmentId,
            completion_context=completionContext,
        )

    @as_status(since=WindowsVersion.WINDOWS_7)
    def FwpsInjectTransportSendAsync1(
        self,
        injectionHandle: Any,
        injectionContext: Any,
        endpointHandle: Any,
        flags: int,
        sendArgs: FWPS_TRANSPORT_SEND_PARAMS1 | None,
        addressFamily: int,
        compartmentId: int,
        netBufferList: NBL,
        completionFn: COMPLETE,
        completionContext: Any,
    ) -> None:
        """As version 0, with the caller's own IP header for raw sends.  Source: TS-1, TS-12, TS-13."""
        params = _send_params(sendArgs)
        if params is not None and sendArgs is not None:
            params.header_include_header = _first(
                sendArgs.headerIncludeHeader, sendArgs.headerIncludeHeaderLength
            )
        handle_of(self.core, injectionHandle).transport_send(
            netBufferList,  # type: ignore[arg-type]
            completionFn,  # type: ignore[arg-type]
            family=addressFamily,
            send_params=params,
            endpoint=endpointHandle,
            context=injectionContext,
            flags=flags,
            compartment=compartmentId,
            completion_context=completionContext,
        )

    @as_status()
    def FwpsInjectTransportReceiveAsync0(
        self,
        injectionHandle: Any,
        injectionContext: Any,
        reserved: Any,
        flags: int,
        addressFamily: int,
        compartmentId: int,
        interfaceIndex: int,
        subInterfaceIndex: int,
        netBufferList: NBL,
        completionFn: COMPLETE,
        completionContext: Any,
    ) -> None:
        """Let a packet arrive at the bottom of the receive path, from its IP header on.  Source: TR-1..TR-14."""
        handle_of(self.core, injectionHandle).transport_receive(
            netBufferList,  # type: ignore[arg-type]
            completionFn,  # type: ignore[arg-type]
            family=addressFamily,
            interface=interfaceIndex,
            sub_interface=subInterfaceIndex,
            context=injectionContext,
            reserved=reserved,
            flags=flags,
            compartment=compartmentId,
            completion_context=completionContext,
        )

    @as_status()
    def FwpsInjectForwardAsync0(
        self,
        injectionHandle: Any,
        injectionContext: Any,
        flags: int,
        addressFamily: int,
        compartmentId: int,
        interfaceIndex: int,
        netBufferList: NBL,
        completionFn: COMPLETE,
        completionContext: Any,
    ) -> None:
        """Send a packet on through this router, out of an interface.  Source: FW-1..FW-13."""
        handle_of(self.core, injectionHandle).forward(
            netBufferList,  # type: ignore[arg-type]
            completionFn,  # type: ignore[arg-type]
            family=addressFamily,
            interface=interfaceIndex,
            context=injectionContext,
            flags=flags,
            compartment=compartmentId,
            completion_context=completionContext,
        )

    # Names without a version are the same functions (HC-3).
    FwpsInjectionHandleCreate = FwpsInjectionHandleCreate0
    FwpsInjectionHandleDestroy = FwpsInjectionHandleDestroy0
    FwpsQueryPacketInjectionState = FwpsQueryPacketInjectionState0
    FwpsInjectNetworkSendAsync = FwpsInjectNetworkSendAsync0
    FwpsInjectNetworkReceiveAsync = FwpsInjectNetworkReceiveAsync0
    FwpsInjectTransportReceiveAsync = FwpsInjectTransportReceiveAsync0
    FwpsInjectForwardAsync = FwpsInjectForwardAsync0

    @property
    def FwpsInjectTransportSendAsync(self) -> Any:
        """The newest version that the profile has."""
        if self.core.profile >= WindowsVersion.WINDOWS_7:
            return self.FwpsInjectTransportSendAsync1
        return self.FwpsInjectTransportSendAsync0


def _send_params(args: FWPS_TRANSPORT_SEND_PARAMS0 | None) -> SendParams | None:
    if args is None:
        return None
    if args.remoteAddress is None:
        raise FwpNullPointer("FwpsInjectTransportSendAsync: sendArgs.remoteAddress is missing", rule="TS-7")
    return SendParams(
        args.remoteAddress, int(args.remoteScopeId), _first(args.controlData, args.controlDataLength)
    )


def _first(buffer: Buffer | None, length: int | None) -> Buffer | None:
    """The first octets of a buffer, still the caller's memory; None for none."""
    if buffer is None or length == 0:
        return None
    if length is None or length == len(buffer):
        return buffer
    return memoryview(buffer)[:length]
