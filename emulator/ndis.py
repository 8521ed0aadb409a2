# ruff: noqa: N801, N802, N803, N815  the names are the header's
"""The functions and macros of ndis.h that callout drivers use on lists and buffers.

Functions that can fail, or be misused, belong to one host: methods of `Ndis`.  Macros only look.
Source: the pages of the functions; NB-13..NB-15.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emulator.netbuffer import Mdl, NetBuffer, NetBufferList
from emulator.ntstatus import NtStatus

if TYPE_CHECKING:
    from emulator.core import Core

MDL = Mdl
NET_BUFFER = NetBuffer
NET_BUFFER_LIST = NetBufferList

NDIS_STATUS_SUCCESS = NtStatus.SUCCESS
NDIS_STATUS_RESOURCES = NtStatus.INSUFFICIENT_RESOURCES
MEMORY_ALLOCATION_ALIGNMENT = 16

AllocateMdlFn = Callable[[int], Mdl | None]
"""Makes a descriptor of the asked number of octets, or none."""
FreeMdlFn = Callable[[Mdl], None]


@dataclass
class NET_BUFFER_LIST_POOL_PARAMETERS:
    """What a pool of lists is made with; sizes in octets."""

    ProtocolId: int = 0
    fAllocateNetBuffer: bool = False
    ContextSize: int = 0
    PoolTag: int = 0
    DataSize: int = 0


class NetBufferListPool:
    """A pool of lists: a handle with its parameters.  Memory is not taken from it."""

    __slots__ = ("parameters", "freed")

    def __init__(self, parameters: NET_BUFFER_LIST_POOL_PARAMETERS) -> None:
        self.parameters = parameters
        self.freed = False


# -- macros ---------------------------------------------------------------------------------------------------


def NET_BUFFER_LIST_FIRST_NB(nbl: NetBufferList) -> NetBuffer:
    """The first buffer of a list."""
    return nbl.first_net_buffer


def NET_BUFFER_LIST_NEXT_NBL(nbl: NetBufferList) -> NetBufferList | None:
    """The list chained after this one; to set it write `nbl.next`."""
    return nbl.next


def NET_BUFFER_LIST_STATUS(nbl: NetBufferList) -> NtStatus:
    """What became of the list: valid in its completion function."""
    return nbl.status


def NET_BUFFER_NEXT_NB(nb: NetBuffer) -> NetBuffer | None:
    """The next buffer of the same list."""
    return nb.next


def NET_BUFFER_FIRST_MDL(nb: NetBuffer) -> Mdl | None:
    """The first descriptor of the buffer's chain, used or not."""
    return nb.first_mdl


def NET_BUFFER_DATA_LENGTH(nb: NetBuffer) -> int:
    """Octets from data start on."""
    return nb.data_length


def NET_BUFFER_DATA_OFFSET(nb: NetBuffer) -> int:
    """Octets of the chain in front of the data start."""
    return nb.data_offset


def NET_BUFFER_CURRENT_MDL(nb: NetBuffer) -> Mdl | None:
    """The descriptor that the data start lies in."""
    return _current(nb)[0]


def NET_BUFFER_CURRENT_MDL_OFFSET(nb: NetBuffer) -> int:
    """Octets of the current descriptor in front of the data start."""
    return _current(nb)[1]


def _current(nb: NetBuffer) -> tuple[Mdl | None, int]:
    offset = nb.data_offset
    mdl = nb.first_mdl
    while mdl is not None and mdl.next is not None and offset >= mdl.length:
        offset -= mdl.length
        mdl = mdl.next
    return mdl, offset


def NdisGetDataBuffer(
    NetBuffer: NetBuffer, BytesNeeded: int, Storage: bytearray | memoryview | None, AlignMultiple: int, AlignOffset: int
) -> memoryview | None:
    """The first octets of a buffer in one piece: the buffer's own memory, else a copy in `Storage`.

    None when the data is shorter, or lies in several pieces and there is no storage.
    Differs from Windows: memory is always aligned, so that `AlignMultiple` never forces a copy.
    """
    if BytesNeeded > NetBuffer.data_length or BytesNeeded < 0:
        return None
    spans = list(NetBuffer.spans(0, BytesNeeded))
    if len(spans) == 1:
        return spans[0]
    if Storage is None or len(Storage) < BytesNeeded:
        return None
    into = memoryview(Storage)[:BytesNeeded]
    into[:] = b"".join(spans)
    return into


# -- functions ------------------------------------------------------------------------------------------------


class Ndis:
    """The functions of ndis.h of one emulated host, spelled as the header spells them.

    `core.ownership.deny` makes retreats and pools fail, as it does allocations.
    """

    def __init__(self, core: Core) -> None:
        self.core = core

    def NdisAllocateNetBufferListPool(
        self, NdisHandle: Any, Parameters: NET_BUFFER_LIST_POOL_PARAMETERS
    ) -> NetBufferListPool | None:
        """A pool handle, or None; the caller frees it."""
        return None if self._denied("NdisAllocateNetBufferListPool") else NetBufferListPool(Parameters)

    def NdisFreeNetBufferListPool(self, PoolHandle: NetBufferListPool) -> None:
        """Free a pool; a second time is a violation."""
        if PoolHandle.freed:
            self.core.violate("NB-7", "NdisFreeNetBufferListPool", "the pool was freed before")
        PoolHandle.freed = True

    def NdisRetreatNetBufferDataStart(
        self,
        NetBuffer: NetBuffer,
        DataOffsetDelta: int,
        DataBackFill: int,
        AllocateMdlHandler: AllocateMdlFn | None = None,
    ) -> NtStatus:
        """Move one buffer's data start back: into unused space in front, else into new memory.

        NDIS_STATUS_RESOURCES when memory was needed and not to be had; then nothing changed.  Source: NB-13.
        """
        short = DataOffsetDelta - NetBuffer.data_offset
        if DataOffsetDelta < 0 or DataBackFill < 0:
            self._misuse("NdisRetreatNetBufferDataStart", f"sizes {DataOffsetDelta} and {DataBackFill}")
        elif short <= 0 or AllocateMdlHandler is None:
            if short > 0 and self._denied("NdisRetreatNetBufferDataStart"):
                return NDIS_STATUS_RESOURCES
            NetBuffer.retreat(DataOffsetDelta, DataBackFill)
        else:
            made = AllocateMdlHandler(short + DataBackFill)
            if made is None:
                return NDIS_STATUS_RESOURCES
            made.from_retreat = True
            made.next = NetBuffer.first_mdl
            NetBuffer.first_mdl = made
            NetBuffer.data_offset += made.length
            NetBuffer.retreat(DataOffsetDelta)
        return NDIS_STATUS_SUCCESS

    def NdisAdvanceNetBufferDataStart(
        self, NetBuffer: NetBuffer, DataOffsetDelta: int, FreeMdl: bool, FreeMdlHandler: FreeMdlFn | None = None
    ) -> None:
        """Move one buffer's data start on; with `FreeMdl`, let go of what a retreat had made.

        Past the end of the data it is a violation, and nothing is done.  Source: NB-13.
        """
        if not 0 <= DataOffsetDelta <= NetBuffer.data_length:
            what = f"{DataOffsetDelta} octets in {NetBuffer.data_length} octets of data"
            self._misuse("NdisAdvanceNetBufferDataStart", what)
            return
        before = list(NetBuffer.first_mdl.chain()) if NetBuffer.first_mdl is not None else []
        NetBuffer.advance(DataOffsetDelta, free_mdl=FreeMdl)
        if FreeMdlHandler is not None:
            for mdl in before:
                if mdl is NetBuffer.first_mdl:
                    break
                FreeMdlHandler(mdl)

    def NdisRetreatNetBufferListDataStart(
        self,
        NetBufferList: NetBufferList,
        DataOffsetDelta: int,
        DataBackFill: int,
        AllocateMdlHandler: AllocateMdlFn | None = None,
        FreeMdlHandler: FreeMdlFn | None = None,
    ) -> NtStatus:
        """Move the data start of every buffer of a list back; when one fails, none has moved.  Source: NB-14."""
        if 0 <= DataOffsetDelta <= NetBufferList.data_offset and NetBufferList.flat:
            NetBufferList.retreat(DataOffsetDelta)
            return NDIS_STATUS_SUCCESS
        moved: list[NetBuffer] = []
        for buffer in NetBufferList.net_buffers():
            status = self.NdisRetreatNetBufferDataStart(
                buffer, DataOffsetDelta, DataBackFill, AllocateMdlHandler
            )
            if status != NDIS_STATUS_SUCCESS:
                for done in moved:
                    self.NdisAdvanceNetBufferDataStart(done, DataOffsetDelta, True, FreeMdlHandler)
                return status
            moved.append(buffer)
        return NDIS_STATUS_SUCCESS

    def NdisAdvanceNetBufferListDataStart(
        self,
        NetBufferList: NetBufferList,
        DataOffsetDelta: int,
        FreeMdl: bool,
        FreeMdlHandler: FreeMdlFn | None = None,
    ) -> None:
        """Move the data start of every buffer of a list on.  Source: NB-14."""
        if NetBufferList.flat and 0 <= DataOffsetDelta <= NetBufferList.data_length:
            NetBufferList.advance(DataOffsetDelta)
            return
        for buffer in NetBufferList.net_buffers():
            self.NdisAdvanceNetBufferDataStart(buffer, DataOffsetDelta, FreeMdl, FreeMdlHandler)

    def _denied(self, call: str) -> bool:
        deny = self.core.ownership.deny
        return deny is not None and deny(call)

    def _misuse(self, call: str, what: str) -> None:
        self.core.violate("NB-13", call, f"cannot move the data start by {what}")
