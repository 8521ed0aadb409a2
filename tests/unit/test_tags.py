"""Contexts on lists: what drivers may do with them, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from emulator.core import Core
from emulator.errors import (
    FwpAlreadyExists,
    FwpIncompatibleLayer,
    FwpInvalidFlags,
    FwpInvalidParameter,
    FwpNotFound,
    FwpNullPointer,
    InvalidParameter,
    WfpError,
)
from emulator.layerids import Layer
from emulator.netbuffer import STACK, NetBufferList
from emulator.wfptypes import LAYER_NON_WFP, InjectionState, TagEvent

IPPACKET = int(Layer.INBOUND_IPPACKET_V4)


class Tagger:
    """A driver that tags, and notes what it is told."""

    def __init__(self) -> None:
        self.core = Core(lambda injection: None)
        self.core.readiness = lambda: None
        self.tags = self.core.tags
        self.events: list[tuple[Any, ...]] = []

    def notify(self, *event: Any) -> None:
        self.events.append(event)

    def packet(self) -> NetBufferList:
        return NetBufferList(bytearray(20), 0, 20, STACK)

    def tagged(self, context: int = 0x1234) -> tuple[NetBufferList, int]:
        item, tag = self.packet(), self.tags.new_tag()
        self.tags.associate(item, IPPACKET, context, tag, self.notify)
        return item, tag


@pytest.mark.rule("NT-1")
def test_no_two_tags_are_the_same() -> None:
    tags = Tagger().tags
    assert len({tags.new_tag() for _ in range(100)}) == 100


@pytest.mark.rule("NT-2", "NT-3", "NT-8")
def test_a_context_is_found_again_under_its_tag() -> None:
    driver = Tagger()
    item, tag = driver.tagged()
    other = driver.tags.new_tag()
    driver.tags.associate(item, LAYER_NON_WFP, 0x5678, other, driver.notify)
    assert [driver.tags.retrieve(item, one) for one in (tag, other, tag)] == [0x1234, 0x5678, 0x1234]
    handle = driver.core.create_handle(0, 0)
    assert handle.state(item) == (InjectionState.NOT_INJECTED, None)
    assert driver.events == []


@pytest.mark.rule("NT-3")
def test_a_context_goes_along_when_the_packet_is_shown_as_another_list() -> None:
    driver = Tagger()
    item, tag = driver.tagged()
    following = driver.packet()
    driver.tags.carry_over(item, following)
    driver.tags.carry_over(driver.packet(), item)
    assert driver.tags.retrieve(following, tag) == 0x1234
    with pytest.raises(FwpNotFound):
        driver.tags.retrieve(item, tag)
    assert driver.events == []


@pytest.mark.rule("NT-2", "NT-4")
def test_a_removed_context_is_told_with_everything_about_it() -> None:
    driver = Tagger()
    item, tag = driver.tagged()
    driver.tags.remove(item, tag)
    assert driver.events == [(TagEvent.CONTEXT_REMOVED, item, None, IPPACKET, 0x1234, tag)]
    with pytest.raises(FwpNotFound):
        driver.tags.remove(item, tag)
    assert driver.tags.leaks() == []


@pytest.mark.rule("NT-4")
def test_without_a_list_a_tag_is_removed_from_all() -> None:
    driver = Tagger()
    first, tag = driver.tagged(1)
    second, other = driver.packet(), driver.tags.new_tag()
    driver.tags.associate(second, IPPACKET, 2, tag, driver.notify)
    driver.tags.associate(second, IPPACKET, 3, other, driver.notify)
    driver.tags.remove(None, tag)
    assert [(event, item, context) for event, item, _, _, context, _ in driver.events] == [
        (TagEvent.CONTEXT_REMOVED, first, 1),
        (TagEvent.CONTEXT_REMOVED, second, 2),
    ]
    assert driver.tags.retrieve(second, other) == 3


@pytest.mark.rule("NT-5", "OR-3")
def test_contexts_go_when_the_packet_leaves_the_stack() -> None:
    driver = Tagger()
    item, tag = driver.tagged()
    assert len(driver.tags.leaks()) == len(driver.core.leaks()) == 1
    driver.tags.leave(item)
    driver.tags.leave(item)
    assert driver.events == [(TagEvent.EXIT_NETIO, item, None, IPPACKET, 0x1234, tag)]
    assert driver.core.leaks() == []
    assert not driver.tags


@pytest.mark.rule("NT-6")
@pytest.mark.parametrize("remove", [True, False], ids=["moved", "copied"])
def test_a_context_is_moved_or_copied_to_a_clone(remove: bool) -> None:
    driver = Tagger()
    item, tag = driver.tagged()
    clone = driver.core.ownership.clone(item)
    context = driver.tags.retrieve(item, tag, remove=remove)
    driver.tags.associate(clone, IPPACKET, context, tag, driver.notify)
    assert driver.tags.retrieve(clone, tag) == 0x1234
    if remove:
        with pytest.raises(FwpNotFound):
            driver.tags.retrieve(item, tag)
    else:
        assert driver.tags.retrieve(item, tag) == 0x1234
    assert driver.events == []


@pytest.mark.rule("NT-7", "NB-25")
@pytest.mark.parametrize("moves", [True, False])
def test_cloning_is_told_and_may_move_the_context(moves: bool) -> None:
    driver = Tagger()
    driver.tags.clone_moves = moves
    item, tag = driver.tagged()
    clone = driver.packet()
    driver.tags.cloned(item, clone)
    assert driver.events == [(TagEvent.CLONED_VIA_WFP_API, item, clone, IPPACKET, 0x1234, tag)]
    has, has_not = (clone, item) if moves else (item, clone)
    assert driver.tags.retrieve(has, tag) == 0x1234
    with pytest.raises(FwpNotFound):
        driver.tags.retrieve(has_not, tag)


@pytest.mark.rule("NT-6", "NT-7")
def test_what_the_driver_does_when_told_of_a_clone_stays() -> None:
    driver = Tagger()
    item, clone, tag = driver.packet(), driver.packet(), driver.tags.new_tag()

    def copy(event: TagEvent, old: NetBufferList, new: NetBufferList | None, *_: Any) -> None:
        driver.tags.associate(new, IPPACKET, driver.tags.retrieve(old, tag), tag, driver.notify)

    driver.tags.associate(item, IPPACKET, 7, tag, copy)
    driver.tags.cloned(item, clone)
    assert [driver.tags.retrieve(one, tag) for one in (item, clone)] == [7, 7]


@pytest.mark.rule("GE-9")
def test_a_notify_function_that_raises_is_recorded_and_the_others_are_told() -> None:
    driver = Tagger()
    item, tag = driver.packet(), driver.tags.new_tag()
    driver.tags.associate(item, IPPACKET, 1, tag, lambda *_: 1 / 0)
    driver.tags.associate(item, IPPACKET, 2, driver.tags.new_tag(), driver.notify)
    driver.tags.leave(item)
    assert [event[4] for event in driver.events] == [2]
    assert isinstance(driver.core.callback_errors[0][1], ZeroDivisionError)


Wrong = Callable[[Tagger, NetBufferList, int], object]


@pytest.mark.rule("NT-2", "NT-5", "GE-6", "GE-7")
@pytest.mark.parametrize(
    ("error", "call"),
    [
        (FwpNullPointer, lambda d, item, tag: d.tags.associate(None, 0, 1, tag, d.notify)),
        (FwpNullPointer, lambda d, item, tag: d.tags.associate(item, 0, 1, tag, None, 1)),
        (FwpInvalidFlags, lambda d, item, tag: d.tags.associate(item, Layer.STREAM_V4, 1, tag, d.notify, 1)),
        (FwpIncompatibleLayer, lambda d, item, tag: d.tags.associate(item, Layer.STREAM_V4, 1, tag, d.notify)),
        (FwpIncompatibleLayer, lambda d, item, tag: d.tags.associate(item, Layer.STREAM_V6, 1, 99, d.notify)),
        (FwpInvalidParameter, lambda d, item, tag: d.tags.associate(item, 78, 1, tag, d.notify)),
        (FwpNotFound, lambda d, item, tag: d.tags.associate(item, 0, 1, tag + 1, d.notify)),
        (FwpNotFound, lambda d, item, tag: d.tags.associate(item, 0, 1, 0, d.notify)),
        (FwpAlreadyExists, lambda d, item, tag: d.tags.associate(item, 0, 1, tag, d.notify)),
        (FwpNullPointer, lambda d, item, tag: d.tags.retrieve(None, tag)),
        (FwpInvalidFlags, lambda d, item, tag: d.tags.retrieve(item, tag, remove=True, flags=1)),
        (FwpNotFound, lambda d, item, tag: d.tags.retrieve(item, tag + 1)),
        (FwpNotFound, lambda d, item, tag: d.tags.retrieve(d.packet(), tag)),
        (FwpInvalidFlags, lambda d, item, tag: d.tags.remove(item, tag, 1)),
        (FwpNotFound, lambda d, item, tag: d.tags.remove(d.packet(), tag)),
    ],
)
def test_a_wrong_call_is_refused_and_nothing_changed(error: type[WfpError], call: Wrong) -> None:
    driver = Tagger()
    item, tag = driver.tagged()
    with pytest.raises(error):
        call(driver, item, tag)
    assert driver.tags.retrieve(item, tag) == 0x1234
    assert len(driver.tags.leaks()) == 1
    assert driver.events == []


@pytest.mark.rule("NB-11")
def test_a_list_that_is_no_longer_valid_takes_no_context() -> None:
    driver = Tagger()
    item, tag = driver.packet(), driver.tags.new_tag()
    driver.core.ownership.retire(item)
    with pytest.raises(InvalidParameter):
        driver.tags.associate(item, IPPACKET, 1, tag, driver.notify)
    assert driver.core.violations.rules() == ["NB-11"]
    assert not driver.tags
