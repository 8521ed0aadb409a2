"""The functions of fwpsk.h, spelled as the header spells them: what a driver's source would call.

    fwpsk = Fwpsk(core)
    status, handle = fwpsk.FwpsInjectionHandleCreate0(AF_INET, FWPS_INJECTION_TYPE_NETWORK)

Arguments come in the page's order without the out-parameters; what comes back is the NTSTATUS first, then
the out-parameters in the header's order.  Functions that return nothing return None.  Numbers are Windows
numbers here: AF_INET6 is 23.  There is no logic beyond translation.  Constants are in `emulator.wdk` and
`emulator.edge.wdkfields`, typed values in `emulator.edge.fwptypes`, NDIS in `emulator.ndis`, filters in
`emulator.fwpmk`.
"""

from __future__ import annotations

from emulator.edge.fwpsk_callouts import CalloutFunctions
from emulator.edge.fwpsk_classify import FWPS_CLASSIFY_OUT0, FWPS_FILTER0, FWPS_FILTER1, FWPS_FILTER2
from emulator.edge.fwpsk_inject import InjectFunctions
from emulator.edge.fwpsk_lists import ListFunctions
from emulator.edge.fwpsk_stream import (
    FWPS_STREAM_CALLOUT_IO_PACKET0,
    FWPS_STREAM_DATA0,
    FWPS_STREAM_DATA_OFFSET0,
    StreamFunctions,
)
from emulator.edge.fwpsk_structs import (
    FWPS_CALLOUT0,
    FWPS_CALLOUT1,
    FWPS_CALLOUT2,
    FWPS_PACKET_LIST_INFORMATION0,
    FWPS_PACKET_LIST_INFORMATION_QUERY_ALL_INBOUND,
    FWPS_PACKET_LIST_INFORMATION_QUERY_ALL_OUTBOUND,
    FWPS_PACKET_LIST_INFORMATION_QUERY_FWP,
    FWPS_PACKET_LIST_INFORMATION_QUERY_INBOUND,
    FWPS_PACKET_LIST_INFORMATION_QUERY_IPSEC,
    FWPS_PACKET_LIST_INFORMATION_QUERY_OUTBOUND,
    FWPS_TRANSPORT_SEND_PARAMS0,
    FWPS_TRANSPORT_SEND_PARAMS1,
    SCOPE_ID,
)
from emulator.edge.fwpsk_tags import TagFunctions
from emulator.edge.fwpsk_values import (
    FWPS_INCOMING_METADATA_VALUES0,
    FWPS_INCOMING_VALUE0,
    FWPS_INCOMING_VALUES0,
    FWPS_IS_L2_METADATA_FIELD_PRESENT,
    FWPS_IS_METADATA_FIELD_PRESENT,
)


class Fwpsk(InjectFunctions, StreamFunctions, ListFunctions, CalloutFunctions, TagFunctions):
    """The fwpsk.h functions of one emulated host.

    A value given as a handle that is no live handle of the host is refused as a dead one is.
    """


__all__ = [
    "FWPS_CALLOUT0",
    "FWPS_CALLOUT1",
    "FWPS_CALLOUT2",
    "FWPS_CLASSIFY_OUT0",
    "FWPS_FILTER0",
    "FWPS_FILTER1",
    "FWPS_FILTER2",
    "FWPS_INCOMING_METADATA_VALUES0",
    "FWPS_INCOMING_VALUE0",
    "FWPS_INCOMING_VALUES0",
    "FWPS_IS_L2_METADATA_FIELD_PRESENT",
    "FWPS_IS_METADATA_FIELD_PRESENT",
    "FWPS_PACKET_LIST_INFORMATION0",
    "FWPS_PACKET_LIST_INFORMATION_QUERY_ALL_INBOUND",
    "FWPS_PACKET_LIST_INFORMATION_QUERY_ALL_OUTBOUND",
    "FWPS_PACKET_LIST_INFORMATION_QUERY_FWP",
    "FWPS_PACKET_LIST_INFORMATION_QUERY_INBOUND",
    "FWPS_PACKET_LIST_INFORMATION_QUERY_IPSEC",
    "FWPS_PACKET_LIST_INFORMATION_QUERY_OUTBOUND",
    "FWPS_STREAM_CALLOUT_IO_PACKET0",
    "FWPS_STREAM_DATA0",
    "FWPS_STREAM_DATA_OFFSET0",
    "FWPS_TRANSPORT_SEND_PARAMS0",
    "FWPS_TRANSPORT_SEND_PARAMS1",
    "SCOPE_ID",
    "Fwpsk",
]
