"""The edge as a whole: a driver written in the header's names alone."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from emulator.core import Core
from emulator.edge.fwpmk_structs import (
    FWPM_ACTION0,
    FWPM_CALLOUT0,
    FWPM_CONDITION_IP_PROTOCOL,
    FWPM_CONDITION_IP_REMOTE_PORT,
    FWPM_FILTER0,
    FWPM_FILTER_CONDITION0,
    FWPM_LAYER_OUTBOUND_TRANSPORT_V4,
    FWPM_LAYER_OUTBOUND_TRANSPORT_V6,
    FWPM_SESSION0,
    FWPM_SESSION_FLAG_DYNAMIC,
    FWPM_SUBLAYER0,
    RPC_C_AUTHN_WINNT,
)
from emulator.edge.fwptypes import FWP_CONDITION_VALUE0, FWP_MATCH_EQUAL, FWP_UINT8, FWP_UINT16
from emulator.edge.wdkfields import (
    FWPS_FIELD_OUTBOUND_TRANSPORT_V4_IP_REMOTE_ADDRESS,
    FWPS_FIELD_OUTBOUND_TRANSPORT_V6_IP_REMOTE_ADDRESS,
)
from emulator.fwpmk import Fwpmk
from emulator.fwpsk import (
    FWPS_CALLOUT2,
    FWPS_IS_METADATA_FIELD_PRESENT,
    FWPS_TRANSPORT_SEND_PARAMS1,
    Fwpsk,
)
from emulator.headers import build_ip_header
from emulator.indication import Indication, OwnIndication
from emulator.injection import Injection
from emulator.interfaces import Interface, InterfaceTable
from emulator.ledger import History
from emulator.ndis import NET_BUFFER_DATA_LENGTH, NET_BUFFER_LIST_FIRST_NB, NdisGetDataBuffer
from emulator.netbuffer import STACK, NetBufferList
from emulator.octets import IpView
from emulator.wdk import (
    AF_INET,
    AF_INET6,
    AF_UNSPEC,
    FWP_ACTION_BLOCK,
    FWP_ACTION_CALLOUT_TERMINATING,
    FWP_ACTION_PERMIT,
    FWPS_CLASSIFY_OUT_FLAG_ABSORB,
    FWPS_INJECTION_TYPE_TRANSPORT,
    FWPS_LAYER_OUTBOUND_TRANSPORT_V4,
    FWPS_LAYER_OUTBOUND_TRANSPORT_V6,
    FWPS_METADATA_FIELD_COMPARTMENT_ID,
    FWPS_METADATA_FIELD_TRANSPORT_ENDPOINT_HANDLE,
    FWPS_PACKET_INJECTED_BY_SELF,
    FWPS_PACKET_PREVIOUSLY_INJECTED_BY_SELF,
    FWPS_RIGHT_ACTION_WRITE,
    STATUS_SUCCESS,
    UNSPECIFIED_COMPARTMENT_ID,
)
from emulator.wfptypes import AddressFamily

FOUR = (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
SIX = (bytes([0xFD, *bytes(14), 1]), bytes([0xFD, *bytes(14), 2]))
ENDPOINT = 77
SECRET = b"a secret"


def datagram(version: int, payload: bytes) -> bytes:
    udp = (1000).to_bytes(2, "big") + (53).to_bytes(2, "big") + (8 + len(payload)).to_bytes(2, "big") + bytes(2)
    return build_ip_header(version, *(FOUR if version == 4 else SIX), 17, udp + payload)


class Redactor:
    """A driver: it blocks outbound datagrams to port 53 and sends redacted clones of them."""

    CALLOUT = {4: UUID(int=0xC4), 6: UUID(int=0xC6)}
    SUBLAYER = UUID(int=0x5B)

    def __init__(self, fwpsk: Fwpsk, fwpmk: Fwpmk) -> None:
        self.fwpsk, self.fwpmk = fwpsk, fwpmk
        self.callout_ids: list[int] = []
        self.states: list[int] = []
        self.completed: list[int] = []

    def driver_entry(self) -> None:
        fwpmk = self.fwpmk
        status, self.injection_handle = self.fwpsk.FwpsInjectionHandleCreate0(
            AF_UNSPEC, FWPS_INJECTION_TYPE_TRANSPORT
        )
        assert status == STATUS_SUCCESS
        status, self.engine = fwpmk.FwpmEngineOpen0(
            None, RPC_C_AUTHN_WINNT, None, FWPM_SESSION0(flags=FWPM_SESSION_FLAG_DYNAMIC)
        )
        assert status == STATUS_SUCCESS
        assert fwpmk.FwpmTransactionBegin0(self.engine, 0) == STATUS_SUCCESS
        sublayer = FWPM_SUBLAYER0(subLayerKey=self.SUBLAYER, weight=0x10)
        assert fwpmk.FwpmSubLayerAdd0(self.engine, sublayer, None) == STATUS_SUCCESS
        self.add(4, FWPM_LAYER_OUTBOUND_TRANSPORT_V4)
        self.add(6, FWPM_LAYER_OUTBOUND_TRANSPORT_V6)
        assert fwpmk.FwpmTransactionCommit0(self.engine) == STATUS_SUCCESS

    def add(self, version: int, layer: int) -> None:
        callout = FWPS_CALLOUT2(self.CALLOUT[version], 0, self.classify, self.notify, None)
        status, callout_id = self.fwpsk.FwpsCalloutRegister2(object(), callout)
        assert status == STATUS_SUCCESS
        assert callout_id is not None
        self.callout_ids.append(callout_id)
        described = FWPM_CALLOUT0(calloutKey=self.CALLOUT[version], applicableLayer=layer)
        assert self.fwpmk.FwpmCalloutAdd0(self.engine, described, None) == (STATUS_SUCCESS, callout_id)
        conditions = [
            FWPM_FILTER_CONDITION0(
                FWPM_CONDITION_IP_PROTOCOL, FWP_MATCH_EQUAL, FWP_CONDITION_VALUE0(FWP_UINT8, 17)
            ),
            FWPM_FILTER_CONDITION0(
                FWPM_CONDITION_IP_REMOTE_PORT, FWP_MATCH_EQUAL, FWP_CONDITION_VALUE0(FWP_UINT16, 53)
            ),
        ]
        status, _ = self.fwpmk.FwpmFilterAdd0(
            self.engine,
            FWPM_FILTER0(
                layerKey=layer,
                subLayerKey=self.SUBLAYER,
                filterCondition=conditions,
                action=FWPM_ACTION0(FWP_ACTION_CALLOUT_TERMINATING, self.CALLOUT[version]),
            ),
            None,
        )
        assert status == STATUS_SUCCESS

    def notify(self, notifyType: int, filterKey: UUID | None, filter: Any) -> int:  # noqa: N803
        return STATUS_SUCCESS

    def classify(
        self, inFixedValues: Any, inMetaValues: Any, layerData: Any, classifyContext: Any, filter: Any,  # noqa: N803
        flowContext: int, classifyOut: Any,  # noqa: N803
    ) -> None:  # fmt: skip
        if not classifyOut.rights & FWPS_RIGHT_ACTION_WRITE:
            return
        state, _ = self.fwpsk.FwpsQueryPacketInjectionState0(self.injection_handle, layerData)
        self.states.append(state)
        if state in (FWPS_PACKET_INJECTED_BY_SELF, FWPS_PACKET_PREVIOUSLY_INJECTED_BY_SELF):
            classifyOut.actionType = FWP_ACTION_PERMIT
            return
        self.send_redacted(inFixedValues, inMetaValues, layerData)
        classifyOut.actionType = FWP_ACTION_BLOCK
        classifyOut.rights &= ~FWPS_RIGHT_ACTION_WRITE
        classifyOut.flags |= FWPS_CLASSIFY_OUT_FLAG_ABSORB

    def send_redacted(self, fixed: Any, meta: Any, packet: Any) -> None:
        status, clone = self.fwpsk.FwpsAllocateCloneNetBufferList0(packet, None, None, 0)
        assert status == STATUS_SUCCESS
        assert clone is not None
        buffer = NET_BUFFER_LIST_FIRST_NB(clone)
        header = meta.transportHeaderSize
        data = NdisGetDataBuffer(buffer, NET_BUFFER_DATA_LENGTH(buffer), None, 1, 0)
        assert data is not None
        data[header:] = bytes(data[header:]).replace(SECRET, b"*" * len(SECRET))
        data[6:8] = bytes(2)
        if fixed.layerId == FWPS_LAYER_OUTBOUND_TRANSPORT_V4:
            index, family = FWPS_FIELD_OUTBOUND_TRANSPORT_V4_IP_REMOTE_ADDRESS, AF_INET
            remote = fixed.incomingValue[index].value.uint32.to_bytes(4, "big")
        else:
            index, family = FWPS_FIELD_OUTBOUND_TRANSPORT_V6_IP_REMOTE_ADDRESS, AF_INET6
            remote = fixed.incomingValue[index].value.byteArray16.byteArray16
        assert FWPS_IS_METADATA_FIELD_PRESENT(meta, FWPS_METADATA_FIELD_TRANSPORT_ENDPOINT_HANDLE)
        compartment = UNSPECIFIED_COMPARTMENT_ID
        if FWPS_IS_METADATA_FIELD_PRESENT(meta, FWPS_METADATA_FIELD_COMPARTMENT_ID):
            compartment = meta.compartmentId
        status = self.fwpsk.FwpsInjectTransportSendAsync1(
            self.injection_handle, None, meta.transportEndpointHandle, 0, FWPS_TRANSPORT_SEND_PARAMS1(remote), family,
            compartment, clone, self.complete, packet,
        )  # fmt: skip
        if status != STATUS_SUCCESS:
            self.fwpsk.FwpsFreeCloneNetBufferList0(clone, 0)

    def complete(self, completionContext: Any, netBufferList: Any, dispatchLevel: bool) -> None:  # noqa: N803
        self.completed.append(netBufferList.status)
        self.fwpsk.FwpsFreeCloneNetBufferList0(netBufferList, 0)

    def unload(self) -> None:
        assert self.fwpmk.FwpmEngineClose0(self.engine) == STATUS_SUCCESS
        for callout_id in self.callout_ids:
            assert self.fwpsk.FwpsCalloutUnregisterById0(callout_id) == STATUS_SUCCESS
        assert self.fwpsk.FwpsInjectionHandleDestroy0(self.injection_handle) == STATUS_SUCCESS


class Host:
    """A core that is up, and as much of a stack as shows datagrams and collects what is injected."""

    def __init__(self) -> None:
        self.injected: list[Injection] = []
        self.core = Core(self.injected.append)
        self.core.readiness = lambda: None

    def show(self, packet: bytes, history: History = ()) -> Indication:
        """Classify a packet at OUTBOUND_TRANSPORT; the indication with its decision."""
        four = packet[0] >> 4 == 4
        layer = FWPS_LAYER_OUTBOUND_TRANSPORT_V4 if four else FWPS_LAYER_OUTBOUND_TRANSPORT_V6
        memory = bytearray(packet)
        item = NetBufferList(memory, IpView(memory).transport_offset, len(memory), STACK, history)
        table = InterfaceTable((Interface(2, "eth0"),))
        seen = OwnIndication(self.core, layer, False, item, memory, 0, len(memory), 2, table)
        seen.endpoint = ENDPOINT
        self.core.engine.classify(seen)
        self.core.ownership.retire(item)
        return seen


@pytest.mark.rule("HC-1", "QS-10", "CF-4", "DC-21")
def test_a_driver_in_windows_names_redacts_a_datagram_once_and_leaves_nothing(family: AddressFamily) -> None:
    host = Host()
    driver = Redactor(Fwpsk(host.core), Fwpmk(host.core))
    driver.driver_entry()

    seen = host.show(datagram(4 if family is AddressFamily.INET else 6, SECRET + b" is out"))
    assert (seen.action, seen.absorbed, seen.rights) == (FWP_ACTION_BLOCK, True, 0)
    [injection] = host.injected
    assert injection.net_buffer_list.octets[8:] == b"******** is out"
    assert injection.endpoint == ENDPOINT
    assert injection.send_params is not None
    assert injection.send_params.remote_address == (FOUR if family is AddressFamily.INET else SIX)[1]
    assert injection.family == family

    packet = datagram(4 if family is AddressFamily.INET else 6, b"******** is out")
    again = host.show(packet, injection.history)
    assert again.action == FWP_ACTION_PERMIT
    assert driver.states == [0, FWPS_PACKET_INJECTED_BY_SELF]
    assert len(host.injected) == 1

    injection.handle.complete(injection, STATUS_SUCCESS)
    assert driver.completed == [STATUS_SUCCESS]
    driver.unload()
    assert host.core.leaks() == []
    assert list(host.core.violations) == []
    assert host.show(packet).action == FWP_ACTION_PERMIT, "nothing filters once the session is closed"


def test_the_driver_is_only_asked_for_what_its_filter_names() -> None:
    host = Host()
    driver = Redactor(Fwpsk(host.core), Fwpmk(host.core))
    driver.driver_entry()
    other = bytearray(datagram(4, SECRET))
    other[22:24] = (54).to_bytes(2, "big")
    assert host.show(bytes(other)).action == FWP_ACTION_PERMIT
    assert host.injected == []
    assert host.show(datagram(4, SECRET)).action == FWP_ACTION_BLOCK
