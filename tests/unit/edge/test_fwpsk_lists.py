"""The functions on lists through the edge: statuses, pools, and void functions that can only record."""

from __future__ import annotations

from struct import pack
from typing import Any

import pytest

from emulator.core import Core
from emulator.fwpsk import (
    FWPS_PACKET_LIST_INFORMATION_QUERY_ALL_INBOUND,
    FWPS_PACKET_LIST_INFORMATION_QUERY_ALL_OUTBOUND,
    FWPS_PACKET_LIST_INFORMATION_QUERY_FWP,
    FWPS_PACKET_LIST_INFORMATION_QUERY_INBOUND,
    FWPS_PACKET_LIST_INFORMATION_QUERY_IPSEC,
    FWPS_PACKET_LIST_INFORMATION_QUERY_OUTBOUND,
    Fwpsk,
)
from emulator.headers import build_ip_header
from emulator.ledger import Entry
from emulator.ndis import MDL, NET_BUFFER_LIST_POOL_PARAMETERS, Ndis
from emulator.netbuffer import RETIRED, STACK, NetBufferList
from emulator.octets import IpView
from emulator.wdk import (
    AF_INET,
    AF_INET6,
    STATUS_FWP_INVALID_FLAGS,
    STATUS_FWP_NULL_POINTER,
    STATUS_FWP_RESERVED,
    STATUS_INSUFFICIENT_RESOURCES,
    STATUS_INVALID_PARAMETER,
    STATUS_SUCCESS,
)
from emulator.wfptypes import AddressFamily, WindowsVersion

UDP = bytes([3, 232, 0, 53, 0, 13, 0, 0]) + b"hello"


class Driver:
    """A core, its edge and a pool as the functions want it."""

    def __init__(self, **options: Any) -> None:
        self.core = Core(lambda injection: None, **options)
        self.core.readiness = lambda: None
        self.fwpsk = Fwpsk(self.core)
        self.ndis = Ndis(self.core)
        self.pool = self.ndis.NdisAllocateNetBufferListPool(
            None, NET_BUFFER_LIST_POOL_PARAMETERS(fAllocateNetBuffer=True)
        )

    def original(self, octets: bytes = UDP) -> NetBufferList:
        return NetBufferList(bytearray(octets), 0, len(octets), STACK)

    def clone(self, original: NetBufferList) -> NetBufferList:
        status, made = self.fwpsk.FwpsAllocateCloneNetBufferList0(original, None, None, 0)
        assert status == STATUS_SUCCESS
        assert made is not None
        return made

    def created(self) -> NetBufferList:
        made = self.fwpsk.FwpsAllocateNetBufferAndNetBufferList0(
            self.pool, 0, 0, MDL(bytearray(UDP)), 0, len(UDP)
        )[1]
        assert made is not None
        return made


@pytest.mark.rule("NB-1", "NB-2", "NB-5")
def test_a_clone_shares_the_octets_from_the_data_start_on_until_it_is_freed() -> None:
    driver = Driver()
    original = driver.original(b"front" + UDP)
    original.advance(5)
    clone = driver.clone(original)
    assert (clone.octets, clone.parent, original.child_count) == (UDP, original, 1)
    clone.write(8, b"HELLO")
    assert original.octets[8:] == b"HELLO"
    driver.fwpsk.FwpsFreeCloneNetBufferList0(clone, 0)
    assert original.child_count == 0
    assert driver.core.leaks() == []
    assert list(driver.core.violations) == []


@pytest.mark.rule("NB-6", "DC-18")
def test_a_deep_clone_has_octets_of_its_own() -> None:
    driver = Driver(profile=WindowsVersion.SERVER_2022_23H2)
    original = driver.original()
    status, clone = driver.fwpsk.FwpsAllocateDeepCloneNetBufferList0(original, None, None, 0)
    assert status == STATUS_SUCCESS
    assert clone is not None
    clone.write(8, b"HELLO")
    assert original.octets == UDP
    driver.fwpsk.FwpsFreeCloneNetBufferList0(clone, 0)
    assert list(driver.core.violations) == []


@pytest.mark.rule("GE-6", "GE-7", "NB-1", "NB-6")
@pytest.mark.parametrize("name", ["FwpsAllocateCloneNetBufferList0", "FwpsAllocateDeepCloneNetBufferList0"])
def test_a_clone_is_refused(name: str) -> None:
    driver = Driver(profile=WindowsVersion.SERVER_2022_23H2)
    clone = getattr(driver.fwpsk, name)
    original = driver.original()
    assert clone(None, None, None, 1) == (STATUS_FWP_NULL_POINTER, None)
    assert clone(original, None, None, 1) == (STATUS_FWP_INVALID_FLAGS, None)
    driver.core.ownership.deny = lambda call: call == name
    assert clone(original, None, None, 0) == (STATUS_INSUFFICIENT_RESOURCES, None)
    driver.core.ownership.deny = None
    driver.core.ownership.retire(original)
    assert clone(original, None, None, 0) == (STATUS_INVALID_PARAMETER, None)
    assert original.child_count == 0
    assert driver.core.ownership.counters().clean


@pytest.mark.rule("NB-7", "NB-8")
def test_a_created_list_lies_over_the_driver_s_memory() -> None:
    driver = Driver()
    memory = bytearray(b"front" + UDP)
    status, made = driver.fwpsk.FwpsAllocateNetBufferAndNetBufferList0(
        driver.pool, 16, 32, MDL(memory), 5, len(UDP)
    )
    assert status == STATUS_SUCCESS
    assert made is not None
    assert (made.octets, made.data_offset, made.history) == (UDP, 5, ())
    memory[5] ^= 0xFF
    assert made.octets != UDP
    driver.fwpsk.FwpsFreeNetBufferList0(made)
    assert driver.core.leaks() == []
    assert list(driver.core.violations) == []


@pytest.mark.rule("NB-7", "GE-7")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((3, 0, None, 0, 0), STATUS_INVALID_PARAMETER),
        ((0, 24, None, 0, 0), STATUS_INVALID_PARAMETER),
        ((-16, 0, None, 0, 0), STATUS_INVALID_PARAMETER),
        ((0, 0, None, 1, 0), STATUS_INVALID_PARAMETER),
        ((0, 0, None, 0, 1), STATUS_INVALID_PARAMETER),
        ((0, 0, MDL(bytearray(10)), 5, 6), STATUS_INVALID_PARAMETER),
        ((0, 0, None, 0, 0), STATUS_SUCCESS),
        ((16, 48, MDL(bytearray(10)), 5, 5), STATUS_SUCCESS),
    ],
)
def test_sizes_and_offsets_of_a_created_list(arguments: tuple[Any, ...], expected: int) -> None:
    driver = Driver()
    status, made = driver.fwpsk.FwpsAllocateNetBufferAndNetBufferList0(driver.pool, *arguments)
    assert (status, made is not None) == (expected, expected == STATUS_SUCCESS)
    assert driver.core.ownership.counters().created == (made is not None)


@pytest.mark.rule("NB-7", "GE-7")
def test_a_created_list_needs_a_fitting_pool() -> None:
    driver = Driver()
    allocate = driver.ndis.NdisAllocateNetBufferListPool
    with_data = allocate(None, NET_BUFFER_LIST_POOL_PARAMETERS(fAllocateNetBuffer=True, DataSize=64))
    without_buffers = allocate(None, NET_BUFFER_LIST_POOL_PARAMETERS())
    freed = allocate(None, NET_BUFFER_LIST_POOL_PARAMETERS(fAllocateNetBuffer=True))
    assert freed is not None
    driver.ndis.NdisFreeNetBufferListPool(freed)
    create = driver.fwpsk.FwpsAllocateNetBufferAndNetBufferList0
    assert create(None, 0, 0, None, 0, 0) == (STATUS_FWP_NULL_POINTER, None)
    for pool in (with_data, without_buffers, freed, "a pool"):
        assert create(pool, 0, 0, None, 0, 0) == (STATUS_INVALID_PARAMETER, None)
    reassemble = driver.fwpsk.FwpsReassembleForwardFragmentGroup0
    assert reassemble(AF_INET, driver.original(), with_data, 0, 0) == (STATUS_INVALID_PARAMETER, None)


@pytest.mark.rule("NB-5", "NB-8", "NB-9", "GE-6")
def test_freeing_with_the_wrong_function_or_twice_is_a_violation() -> None:
    driver = Driver()
    clone, made = driver.clone(driver.original()), driver.created()
    free_clone, free_list = driver.fwpsk.FwpsFreeCloneNetBufferList0, driver.fwpsk.FwpsFreeNetBufferList0
    free_clone(made, 0)
    free_list(clone)
    assert driver.core.violations.rules() == ["NB-8", "NB-5"]
    free_clone(clone, 1)
    free_list(made)
    assert driver.core.violations.rules()[2:] == ["GE-6"]
    assert driver.core.leaks() == []
    free_clone(clone, 0)
    free_list(made)
    assert driver.core.violations.rules()[3:] == ["NB-9", "NB-9"]


@pytest.mark.rule("GE-7", "GE-9")
def test_a_void_function_without_a_list_is_a_violation() -> None:
    driver = Driver()
    driver.fwpsk.FwpsFreeCloneNetBufferList0(None, 0)
    driver.fwpsk.FwpsFreeNetBufferList0(None)
    driver.fwpsk.FwpsReferenceNetBufferList0(None, False)
    driver.fwpsk.FwpsDereferenceNetBufferList0(None, False)
    assert [(one.rule, one.call) for one in driver.core.violations] == [
        ("GE-7", "FwpsFreeCloneNetBufferList0"),
        ("GE-7", "FwpsFreeNetBufferList0"),
        ("GE-7", "FwpsReferenceNetBufferList0"),
        ("GE-7", "FwpsDereferenceNetBufferList0"),
    ]


@pytest.mark.rule("NB-11", "NB-12")
def test_a_referenced_list_outlives_its_classify() -> None:
    driver = Driver()
    original = driver.original()
    driver.fwpsk.FwpsReferenceNetBufferList0(original, True)
    driver.core.ownership.retire(original)
    clone = driver.clone(original)
    driver.fwpsk.FwpsDereferenceNetBufferList0(original, False)
    assert original.state == RETIRED
    assert driver.fwpsk.FwpsAllocateCloneNetBufferList0(original, None, None, 0)[0] == STATUS_INVALID_PARAMETER
    assert driver.core.violations.rules() == ["NB-11"]
    driver.fwpsk.FwpsDereferenceNetBufferList0(original, False)
    assert driver.core.violations.rules() == ["NB-11", "NB-12"]
    driver.fwpsk.FwpsFreeCloneNetBufferList0(clone, 0)
    assert driver.core.leaks() == []


@pytest.mark.rule("NB-20", "NB-22", "NB-23")
def test_a_header_is_built_through_the_edge(family: AddressFamily) -> None:
    driver = Driver()
    ends = (bytes([192, 0, 2, 1]), bytes(4)) if family == AF_INET else (bytes([0x20, 1, *bytes(14)]), bytes(16))
    item = driver.created()
    level = 41 if family is AddressFamily.INET6 else 0
    control = bytearray(pack("<Qiii", 20, level, 21, 9) + b"not part of it")
    status = driver.fwpsk.FwpsConstructIpHeaderForTransportPacket0(
        item, 0, family, *ends, 17, 0, control, 20, 0, None, 0, 0
    )
    assert status == STATUS_SUCCESS
    view = IpView(item.octets)
    assert (view.source, view.protocol, view.hop_limit) == (ends[0], 17, 9)


@pytest.mark.rule("NB-23", "GE-6", "GE-7")
@pytest.mark.parametrize(
    ("at", "value", "expected"),
    [
        (3, None, STATUS_FWP_NULL_POINTER),
        (4, None, STATUS_FWP_NULL_POINTER),
        (10, object(), STATUS_FWP_RESERVED),
        (9, 1, STATUS_FWP_INVALID_FLAGS),
        (2, 10, STATUS_INVALID_PARAMETER),
        (2, AF_INET6, STATUS_INVALID_PARAMETER),
        (3, bytes(16), STATUS_INVALID_PARAMETER),
    ],
)
def test_a_wrong_argument_builds_no_header(at: int, value: Any, expected: int) -> None:
    driver = Driver()
    item = driver.created()
    arguments: list[Any] = [item, 0, AF_INET, bytes(4), bytes(4), 17, 0, None, 0, 0, None, 0, 0]
    arguments[at] = value
    assert driver.fwpsk.FwpsConstructIpHeaderForTransportPacket0(*arguments) == expected
    assert item.octets == UDP


@pytest.mark.rule("NB-24")
def test_a_group_is_reassembled_through_the_edge() -> None:
    driver = Driver()
    whole = build_ip_header(4, bytes(4), bytes([10, 0, 0, 1]), 17, bytes([0, 1, 0, 2, 0, 24, 0, 0]) + bytes(16))
    first, second = bytearray(whole[:28]), bytearray(whole[:20] + whole[28:])
    first[6:8], second[6:8] = b"\x20\x00", b"\x00\x01"
    first[3], second[3] = len(first), len(second)
    chain = driver.original(bytes(first))
    chain.next = driver.original(bytes(second))
    status, made = driver.fwpsk.FwpsReassembleForwardFragmentGroup0(AF_INET, chain, driver.pool, 0, 0)
    assert status == STATUS_SUCCESS
    assert made is not None
    assert made.octets == whole
    driver.fwpsk.FwpsFreeNetBufferList0(made)
    assert driver.core.leaks() == []
    assert driver.fwpsk.FwpsReassembleForwardFragmentGroup0(AF_INET, None, None, 0, 0) == (
        STATUS_FWP_NULL_POINTER, None
    )  # fmt: skip


@pytest.mark.rule("QS-15")
def test_a_list_tells_whether_anybody_injected_it() -> None:
    driver = Driver()
    item = driver.original()
    ask = driver.fwpsk.FwpsGetPacketListSecurityInformation0
    status, told = ask(item, FWPS_PACKET_LIST_INFORMATION_QUERY_ALL_INBOUND)
    assert status == STATUS_SUCCESS
    assert told is not None
    assert told.fwpInformation.isReinjected is False
    assert not any(vars(told.ipsecInformation.inbound).values())
    assert not any(vars(told.ipsecInformation.outbound).values())

    item.history = (Entry(object(), None, 1),)
    for flags, expected in (
        (FWPS_PACKET_LIST_INFORMATION_QUERY_FWP, True),
        (FWPS_PACKET_LIST_INFORMATION_QUERY_ALL_OUTBOUND, True),
        (FWPS_PACKET_LIST_INFORMATION_QUERY_OUTBOUND | FWPS_PACKET_LIST_INFORMATION_QUERY_IPSEC, False),
        (FWPS_PACKET_LIST_INFORMATION_QUERY_INBOUND, False),
    ):
        told = ask(item, flags)[1]
        assert told is not None
        assert told.fwpInformation.isReinjected is expected
    assert ask(None, 8) == (STATUS_FWP_NULL_POINTER, None)
    assert ask(item, 0x10) == (STATUS_FWP_INVALID_FLAGS, None)
