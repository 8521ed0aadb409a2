"""Tagging through the edge."""

from __future__ import annotations

from typing import Any

import pytest

from emulator.core import Core
from emulator.fwpsk import Fwpsk
from emulator.netbuffer import STACK, NetBufferList
from emulator.wdk import (
    FWPS_LAYER_INBOUND_IPPACKET_V4,
    FWPS_LAYER_STREAM_V4,
    FWPS_NET_BUFFER_LIST_CLONED_VIA_WFP_API,
    FWPS_NET_BUFFER_LIST_CONTEXT_REMOVED,
    STATUS_FWP_ALREADY_EXISTS,
    STATUS_FWP_INCOMPATIBLE_LAYER,
    STATUS_FWP_INVALID_FLAGS,
    STATUS_FWP_NOT_FOUND,
    STATUS_FWP_NULL_POINTER,
    STATUS_SUCCESS,
)
from emulator.wfptypes import WindowsVersion

LAYER = FWPS_LAYER_INBOUND_IPPACKET_V4


@pytest.mark.rule("NT-1", "NT-2", "NT-3", "NT-4", "NT-7")
@pytest.mark.parametrize("version", [0, 1])
def test_a_tagged_list_through_its_life(version: int) -> None:
    fwpsk = Fwpsk(Core(lambda injection: None))
    events: list[tuple[Any, ...]] = []
    item = NetBufferList(bytearray(20), 0, 20, STACK)
    tag = fwpsk.FwpsNetBufferListGetTagForContext0()
    associate = getattr(fwpsk, f"FwpsNetBufferListAssociateContext{version}")
    assert associate(item, LAYER, 0x1234, tag, None, None, lambda *event: events.append(event), 0) == STATUS_SUCCESS
    assert fwpsk.FwpsNetBufferListRetrieveContext0(item, tag, False, 0) == (STATUS_SUCCESS, 0x1234)
    status, clone = fwpsk.FwpsAllocateCloneNetBufferList0(item, None, None, 0)
    assert status == STATUS_SUCCESS
    assert fwpsk.FwpsNetBufferListRetrieveContext0(clone, tag, False, 0) == (STATUS_SUCCESS, 0x1234)
    assert fwpsk.FwpsNetBufferListRetrieveContext0(item, tag, False, 0) == (STATUS_FWP_NOT_FOUND, None)
    assert fwpsk.FwpsNetBufferListRemoveContext0(None, tag, 0) == STATUS_SUCCESS
    assert events == [
        (FWPS_NET_BUFFER_LIST_CLONED_VIA_WFP_API, item, clone, LAYER, 0x1234, tag),
        (FWPS_NET_BUFFER_LIST_CONTEXT_REMOVED, clone, None, LAYER, 0x1234, tag),
    ]


@pytest.mark.rule("NT-6")
def test_retrieving_can_remove() -> None:
    fwpsk = Fwpsk(Core(lambda injection: None))
    item = NetBufferList(bytearray(20), 0, 20, STACK)
    tag = fwpsk.FwpsNetBufferListGetTagForContext0()
    fwpsk.FwpsNetBufferListAssociateContext1(item, LAYER, 5, tag, None, None, print, 0)
    assert fwpsk.FwpsNetBufferListRetrieveContext0(item, tag, True, 0) == (STATUS_SUCCESS, 5)
    assert fwpsk.FwpsNetBufferListRetrieveContext0(item, tag, True, 0) == (STATUS_FWP_NOT_FOUND, None)


@pytest.mark.rule("GE-6", "GE-7", "NT-5")
def test_wrong_calls_return_their_status() -> None:
    fwpsk = Fwpsk(Core(lambda injection: None))
    item = NetBufferList(bytearray(20), 0, 20, STACK)
    tag = fwpsk.FwpsNetBufferListGetTagForContext0()

    def associate(layer: int = LAYER, notify: Any = print, flags: int = 0) -> int:
        return fwpsk.FwpsNetBufferListAssociateContext0(item, layer, 5, tag, None, None, notify, flags)

    assert associate(notify=None) == STATUS_FWP_NULL_POINTER
    assert associate(flags=1) == STATUS_FWP_INVALID_FLAGS
    assert associate(layer=FWPS_LAYER_STREAM_V4) == STATUS_FWP_INCOMPATIBLE_LAYER
    assert [associate(), associate()] == [STATUS_SUCCESS, STATUS_FWP_ALREADY_EXISTS]
    assert fwpsk.FwpsNetBufferListRetrieveContext0(item, tag, False, 1) == (STATUS_FWP_INVALID_FLAGS, None)
    assert fwpsk.FwpsNetBufferListRemoveContext0(item, tag, 1) == STATUS_FWP_INVALID_FLAGS


@pytest.mark.rule("VE-1")
def test_there_are_no_tags_before_windows_7() -> None:
    fwpsk = Fwpsk(Core(lambda injection: None, profile=WindowsVersion.VISTA_SP1))
    assert fwpsk.FwpsNetBufferListGetTagForContext0() == 0
