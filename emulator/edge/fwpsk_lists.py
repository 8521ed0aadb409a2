"""Making, freeing and referencing lists; IP headers; what is known of a list's past."""

from __future__ import annotations

from typing import Any

from emulator.construct import construct_ip_header, reassemble_forward_group
from emulator.edge.fwpsk_edge import Edge, as_status, as_void
from emulator.edge.fwpsk_structs import (
    FWPS_PACKET_LIST_FWP_INFORMATION0,
    FWPS_PACKET_LIST_INFORMATION0,
    FWPS_PACKET_LIST_INFORMATION_QUERY_FWP,
    Buffer,
)
from emulator.errors import FwpInvalidFlags, FwpNullPointer, InvalidParameter
from emulator.ndis import NetBufferListPool
from emulator.netbuffer import Mdl, NetBufferList
from emulator.wfptypes import WindowsVersion

NBL = NetBufferList | None
_ALL_QUERIES = 0xF


class ListFunctions(Edge):
    """The functions on net buffer lists.  Source: NB-1..NB-25, QS-15."""

    @as_status(out=True)
    def FwpsAllocateCloneNetBufferList0(
        self,
        originalNetBufferList: NBL,
        netBufferListPoolHandle: Any,
        netBufferPoolHandle: Any,
        allocateCloneFlags: int,
    ) -> NetBufferList:
        """A second list over the same octets; freed with FwpsFreeCloneNetBufferList0.  Source: NB-1, NB-2."""
        made = self.core.ownership.clone(originalNetBufferList, allocateCloneFlags)
        if self.core.tags and originalNetBufferList is not None:
            self.core.tags.cloned(originalNetBufferList, made)
        return made

    @as_status(out=True, since=WindowsVersion.SERVER_2022_23H2)
    def FwpsAllocateDeepCloneNetBufferList0(
        self,
        originalNetBufferList: NBL,
        netBufferListPoolHandle: Any,
        netBufferPoolHandle: Any,
        allocateCloneFlags: int,
    ) -> NetBufferList:
        """A copy of list and octets; freed with FwpsFreeCloneNetBufferList0.  Source: NB-6, DC-18."""
        return self.core.ownership.deep_clone(originalNetBufferList, allocateCloneFlags)

    @as_void
    def FwpsFreeCloneNetBufferList0(self, netBufferList: NBL, freeCloneFlags: int) -> None:
        """Free one clone, deep clone or stream clone.  Source: NB-3, NB-5, NB-9."""
        self.core.ownership.free_clone(_required(netBufferList), freeCloneFlags)

    @as_status(out=True)
    def FwpsAllocateNetBufferAndNetBufferList0(
        self,
        poolHandle: Any,
        contextSize: int,
        contextBackFill: int,
        mdlChain: Mdl | None,
        dataOffset: int,
        dataLength: int,
    ) -> NetBufferList:
        """A fresh list over the caller's memory; freed with FwpsFreeNetBufferList0.  Source: NB-7, NB-8."""
        _check_pool(poolHandle)
        return self.core.ownership.create(
            mdlChain, dataOffset, dataLength, context_size=contextSize, context_backfill=contextBackFill
        )

    @as_void
    def FwpsFreeNetBufferList0(self, netBufferList: NBL) -> None:
        """Free a created or reassembled list.  Source: NB-8, NB-24."""
        self.core.ownership.free_list(_required(netBufferList))

    @as_void
    def FwpsReferenceNetBufferList0(self, netBufferList: NBL, intendToModify: bool) -> None:
        """Keep an indicated list valid after classifyFn.  Source: NB-11."""
        self.core.ownership.reference(netBufferList, bool(intendToModify))

    @as_void
    def FwpsDereferenceNetBufferList0(self, netBufferList: NBL, dispatchLevel: bool) -> None:
        """Give one reference back.  Source: NB-12."""
        self.core.ownership.dereference(_required(netBufferList), bool(dispatchLevel))

    @as_status(since=WindowsVersion.VISTA_SP1)
    def FwpsConstructIpHeaderForTransportPacket0(
        self,
        netBufferList: NBL,
        headerIncludeHeaderLength: int,
        addressFamily: int,
        sourceAddress: Buffer | None,
        remoteAddress: Buffer | None,
        nextProtocol: int,
        endpointHandle: Any,
        controlData: Buffer | None,
        controlDataLength: int,
        flags: int,
        reserved: Any,
        interfaceIndex: int,
        subInterfaceIndex: int,
    ) -> None:
        """Build, or rebuild, the IP header of a list.  Source: NB-20..NB-23, TR-4.

        Unspecified: what the interface indexes are for.  They are not looked at.
        """
        construct_ip_header(
            self.core,
            netBufferList,
            headerIncludeHeaderLength,
            addressFamily,
            sourceAddress,
            remoteAddress,
            nextProtocol,
            endpoint=endpointHandle,
            control_data=None if controlData is None else controlData[:controlDataLength],
            flags=flags,
            reserved=reserved,
        )

    @as_status(out=True, since=WindowsVersion.VISTA_SP1)
    def FwpsReassembleForwardFragmentGroup0(
        self,
        addressFamily: int,
        fragmentGroupNblChain: NBL,
        netBufferAndNetBufferListPoolHandle: Any,
        dataBackFill: int,
        flags: int,
    ) -> NetBufferList:
        """One list of a chain of fragments; freed with FwpsFreeNetBufferList0.  Source: NB-24, FW-4."""
        if netBufferAndNetBufferListPoolHandle is not None:
            _check_pool(netBufferAndNetBufferListPoolHandle)
        return reassemble_forward_group(
            self.core, addressFamily, fragmentGroupNblChain, backfill=dataBackFill, flags=flags
        )

    @as_status(out=True)
    def FwpsGetPacketListSecurityInformation0(
        self, packetList: NBL, queryFlags: int
    ) -> FWPS_PACKET_LIST_INFORMATION0:
        """Whether any handle injected the list; the IPsec parts are always nothing.  Source: QS-15."""
        if packetList is None:
            raise FwpNullPointer("packetList is missing", rule="GE-7")
        if queryFlags & ~_ALL_QUERIES:
            raise FwpInvalidFlags(f"queryFlags {queryFlags:#x} hold undefined bits", rule="GE-7")
        asked = queryFlags & FWPS_PACKET_LIST_INFORMATION_QUERY_FWP
        known = FWPS_PACKET_LIST_FWP_INFORMATION0(isReinjected=bool(asked and packetList.history))
        return FWPS_PACKET_LIST_INFORMATION0(fwpInformation=known)

    # Names without a version are the same functions (HC-3).
    FwpsAllocateCloneNetBufferList = FwpsAllocateCloneNetBufferList0
    FwpsAllocateDeepCloneNetBufferList = FwpsAllocateDeepCloneNetBufferList0
    FwpsFreeCloneNetBufferList = FwpsFreeCloneNetBufferList0
    FwpsAllocateNetBufferAndNetBufferList = FwpsAllocateNetBufferAndNetBufferList0
    FwpsFreeNetBufferList = FwpsFreeNetBufferList0
    FwpsReferenceNetBufferList = FwpsReferenceNetBufferList0
    FwpsDereferenceNetBufferList = FwpsDereferenceNetBufferList0
    FwpsConstructIpHeaderForTransportPacket = FwpsConstructIpHeaderForTransportPacket0
    FwpsReassembleForwardFragmentGroup = FwpsReassembleForwardFragmentGroup0
    FwpsGetPacketListSecurityInformation = FwpsGetPacketListSecurityInformation0


def _required(item: NBL) -> NetBufferList:
    if item is None:
        raise FwpNullPointer("netBufferList is missing", rule="GE-7")
    return item


def _check_pool(pool: Any) -> None:
    """Refuse what is no live pool of lists with one buffer each and no data of their own."""
    if pool is None:
        raise FwpNullPointer("the pool handle is missing", rule="NB-7")
    if not isinstance(pool, NetBufferListPool) or pool.freed:
        raise InvalidParameter(f"{pool!r} is no pool", rule="NB-7")
    if not pool.parameters.fAllocateNetBuffer or pool.parameters.DataSize:
        raise InvalidParameter("the pool needs fAllocateNetBuffer TRUE and DataSize 0", rule="NB-7")
