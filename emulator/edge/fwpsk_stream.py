# ruff: noqa: N801  the names are the header's
"""The stream layer's structures and functions.

layerData of a classifyFn at a stream layer is an FWPS_STREAM_CALLOUT_IO_PACKET0.
"""

from __future__ import annotations

from typing import Any

from emulator.edge.fwpsk_edge import Edge, as_status, handle_of
from emulator.edge.fwpsk_inject import COMPLETE, NBL
from emulator.netbuffer import NetBufferList
from emulator.stream import (
    IoPacket,
    StreamData,
    StreamDataOffset,
    clone_stream_data,
    copy_stream_data,
    discard_cloned,
)


class FWPS_STREAM_DATA_OFFSET0:
    """Where stream data begins.  Source: ST-22."""

    __slots__ = ("_offset",)

    def __init__(self, offset: StreamDataOffset) -> None:
        self._offset = offset

    @property
    def netBufferList(self) -> NetBufferList:
        """The list that holds the first octet."""
        return self._offset.net_buffer_list

    @property
    def netBuffer(self) -> Any:
        """The packet in it."""
        return self._offset.net_buffer

    @property
    def mdl(self) -> Any:
        """The descriptor in that."""
        return self._offset.mdl

    @property
    def mdlOffset(self) -> int:
        """Octets into the descriptor."""
        return self._offset.mdl_offset


class FWPS_STREAM_DATA0:
    """Octets of one direction.  Source: ST-20, ST-21."""

    __slots__ = ("data",)

    def __init__(self, data: StreamData) -> None:
        self.data = data

    @property
    def flags(self) -> int:
        """FWPS_STREAM_FLAG_… bits."""
        return self.data.flags

    @property
    def dataOffset(self) -> FWPS_STREAM_DATA_OFFSET0:
        """Where the octets begin."""
        return FWPS_STREAM_DATA_OFFSET0(self.data.data_offset)

    @property
    def dataLength(self) -> int:
        """How many octets count."""
        return self.data.data_length

    @property
    def netBufferListChain(self) -> NetBufferList:
        """The lists they lie in."""
        return self.data.net_buffer_list_chain


class FWPS_STREAM_CALLOUT_IO_PACKET0:
    """What a stream classifyFn is shown, and what it answers beside its action.  Source: ST-20, ST-24..ST-28."""

    __slots__ = ("packet",)

    def __init__(self, packet: IoPacket) -> None:
        self.packet = packet

    @property
    def streamData(self) -> FWPS_STREAM_DATA0:
        """The octets."""
        return FWPS_STREAM_DATA0(self.packet.stream_data)

    @property
    def missedBytes(self) -> int:
        """Octets that callouts of more weight kept back."""
        return self.packet.missed_bytes

    @property
    def countBytesRequired(self) -> int:
        """How many more octets FWPS_STREAM_ACTION_NEED_MORE_DATA asks for."""
        return self.packet.count_bytes_required

    @countBytesRequired.setter
    def countBytesRequired(self, octets: int) -> None:
        self.packet.count_bytes_required = octets

    @property
    def countBytesEnforced(self) -> int:
        """How many leading octets the action is for; 0 for all."""
        return self.packet.count_bytes_enforced

    @countBytesEnforced.setter
    def countBytesEnforced(self, octets: int) -> None:
        self.packet.count_bytes_enforced = octets

    @property
    def streamAction(self) -> int:
        """FWPS_STREAM_ACTION_…."""
        return self.packet.stream_action

    @streamAction.setter
    def streamAction(self, action: int) -> None:
        self.packet.stream_action = action


STREAM_DATA = FWPS_STREAM_DATA0 | None


class StreamFunctions(Edge):
    """The functions of the stream layer.  Source: ST-1..ST-19, SD-1..SD-10."""

    @as_status()
    def FwpsStreamInjectAsync0(
        self,
        injectionHandle: Any,
        injectionContext: Any,
        flags: int,
        flowId: int,
        calloutId: int,
        layerId: int,
        streamFlags: int,
        netBufferList: NBL,
        dataLength: int,
        completionFn: COMPLETE,
        completionContext: Any,
    ) -> None:
        """Put octets, and a FIN, into a stream; completionFn gets each list of the chain.  Source: ST-1..ST-19."""
        handle_of(self.core, injectionHandle).stream_inject(
            netBufferList,
            completionFn,
            flow_id=flowId,
            callout_id=calloutId,
            layer=layerId,
            stream_flags=streamFlags,
            data_length=dataLength,
            context=injectionContext,
            flags=flags,
            completion_context=completionContext,
        )

    @as_status()
    def FwpsStreamContinue0(self, flowId: int, calloutId: int, layerId: int, streamFlags: int) -> None:
        """Go on with a deferred inbound stream.  Source: SD-7..SD-9."""
        self.core.streams.resume(flowId, calloutId, layerId, streamFlags)

    def FwpsCopyStreamDataToBuffer0(
        self, calloutStreamData: STREAM_DATA, buffer: bytearray | memoryview, bytesToCopy: int
    ) -> int:
        """Copy the first octets into a flat buffer; bytesCopied.  Source: SD-1."""
        return copy_stream_data(_data(calloutStreamData), buffer, bytesToCopy)

    @as_status(out=True)
    def FwpsCloneStreamData0(
        self,
        calloutStreamData: STREAM_DATA,
        netBufferListPoolHandle: Any,
        netBufferPoolHandle: Any,
        allocateCloneFlags: int,
    ) -> NetBufferList:
        """Clones of the chain, trimmed to the octets that count.  Source: SD-2, SD-5, SD-6."""
        return clone_stream_data(self.core.ownership, _data(calloutStreamData), allocateCloneFlags)

    def FwpsDiscardClonedStreamData0(
        self, netBufferListChain: NBL, allocateCloneFlags: int, dispatchLevel: bool
    ) -> None:
        """Free a chain of clones that was not injected.  Source: SD-4."""
        discard_cloned(self.core.ownership, netBufferListChain, allocateCloneFlags)

    # Names without a version are the same functions (HC-3).
    FwpsStreamInjectAsync = FwpsStreamInjectAsync0
    FwpsStreamContinue = FwpsStreamContinue0
    FwpsCopyStreamDataToBuffer = FwpsCopyStreamDataToBuffer0
    FwpsCloneStreamData = FwpsCloneStreamData0
    FwpsDiscardClonedStreamData = FwpsDiscardClonedStreamData0


def _data(given: STREAM_DATA) -> StreamData | None:
    return None if given is None else given.data
