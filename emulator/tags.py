"""Tags of lists: contexts that drivers hang on packets, and the events they are told of.

A context is kept by list.  Whoever shows the same packet in another list at the next layer calls
`carry_over`, and `leave` when the packet leaves the stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from emulator.errors import (
    FwpAlreadyExists,
    FwpIncompatibleLayer,
    FwpInvalidFlags,
    FwpInvalidParameter,
    FwpNotFound,
    FwpNullPointer,
    InvalidParameter,
)
from emulator.layerids import Layer
from emulator.netbuffer import FREED, RETIRED, NetBufferList
from emulator.wfptypes import LAYER_NON_WFP, TagEvent

if TYPE_CHECKING:
    from emulator.core import Core

TagNotifyFn = Callable[[TagEvent, NetBufferList, "NetBufferList | None", int, Any, int], object]
"""Told (event, list, new list, layer, context, tag).  Source: NT-2."""

_STREAM_LAYERS = frozenset(
    {Layer.STREAM_V4, Layer.STREAM_V4_DISCARD, Layer.STREAM_V6, Layer.STREAM_V6_DISCARD}
)
_ASSOCIATE = "FwpsNetBufferListAssociateContext"


class _Tagged(NamedTuple):
    layer: int
    context: Any
    notify: TagNotifyFn


class Tags:
    """The tags of one host and the contexts that hang on its lists.

    `clone_moves` says whether a clone takes the tags off its original, after the event and unless the
    driver has dealt with them in it (NT-7).
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.clone_moves = True
        self._last = 0
        self._contexts: dict[NetBufferList, dict[int, _Tagged]] = {}

    def new_tag(self) -> int:
        """A tag that no other has.  Source: NT-1."""
        self._last += 1
        return self._last

    def associate(
        self,
        item: NetBufferList | None,
        layer: int,
        context: Any,
        tag: int,
        notify: TagNotifyFn | None,
        flags: int = 0,
    ) -> None:
        """Hang a context on a list under a tag; `notify` is told what becomes of it.

        Raises FwpNullPointer, FwpInvalidFlags, FwpIncompatibleLayer (stream layers), FwpInvalidParameter
        (no such layer), FwpNotFound (a tag never given out), InvalidParameter (a list no longer valid),
        FwpAlreadyExists.  Source: NT-2, NT-5.
        """
        if item is None or notify is None:
            raise FwpNullPointer(f"{_ASSOCIATE}: the list or notifyFn is missing", rule="GE-7")
        self._check_flags(_ASSOCIATE, flags)
        if layer in _STREAM_LAYERS:
            raise FwpIncompatibleLayer(f"{_ASSOCIATE}: there are no packets at stream layers", rule="NT-5")
        if layer != LAYER_NON_WFP and not 0 <= layer < len(Layer):
            raise FwpInvalidParameter(f"{_ASSOCIATE}: there is no layer {layer}", rule="NT-2")
        if not 0 < tag <= self._last:
            raise FwpNotFound(f"{_ASSOCIATE}: tag {tag} was never given out", rule="NT-1")
        if item.state in (FREED, RETIRED):
            self.core.violate("NB-11", _ASSOCIATE, f"{item!r} is no longer valid")
            raise InvalidParameter(f"{_ASSOCIATE}: {item!r} is no longer valid", rule="NB-11")
        here = self._contexts.setdefault(item, {})
        if tag in here:
            raise FwpAlreadyExists(f"{_ASSOCIATE}: {item!r} has a context under tag {tag}", rule="NT-2")
        here[tag] = _Tagged(layer, context, notify)

    def retrieve(self, item: NetBufferList | None, tag: int, *, remove: bool = False, flags: int = 0) -> Any:
        """The context on a list under a tag; with `remove` it is taken off, without an event.

        Raises FwpNullPointer, FwpInvalidFlags, FwpNotFound.  Source: NT-3, NT-6.
        """
        call = "FwpsNetBufferListRetrieveContext0"
        if item is None:
            raise FwpNullPointer(f"{call}: the list is missing", rule="GE-7")
        self._check_flags(call, flags)
        found = self._contexts.get(item, {}).get(tag)
        if found is None:
            raise FwpNotFound(f"{call}: {item!r} has no context under tag {tag}", rule="NT-3")
        if remove:
            self._take(item, tag)
        return found.context

    def remove(self, item: NetBufferList | None, tag: int, flags: int = 0) -> None:
        """Take the context under a tag off a list, or with None off all lists; each gives CONTEXT_REMOVED.

        Raises FwpInvalidFlags, FwpNotFound (the list has none).
        Differs from Windows: it is done when the call returns.  Source: NT-4.
        """
        call = "FwpsNetBufferListRemoveContext0"
        self._check_flags(call, flags)
        if item is not None and tag not in self._contexts.get(item, {}):
            raise FwpNotFound(f"{call}: {item!r} has no context under tag {tag}", rule="NT-4")
        tagged = [item] if item is not None else [one for one, here in self._contexts.items() if tag in here]
        for one in tagged:
            self._tell(TagEvent.CONTEXT_REMOVED, one, None, tag, self._take(one, tag))

    # -- what happens to packets ------------------------------------------------------------------------

    def cloned(self, original: NetBufferList, clone: NetBufferList) -> None:
        """A driver cloned a list: its tags' owners are told, and tags may move.  Source: NT-7, NB-25."""
        for tag, tagged in list(self._contexts.get(original, {}).items()):
            self._tell(TagEvent.CLONED_VIA_WFP_API, original, clone, tag, tagged)
            there = self._contexts.get(clone, {})
            if self.clone_moves and tag in self._contexts.get(original, {}) and tag not in there:
                self._contexts.setdefault(clone, {})[tag] = self._take(original, tag)

    def carry_over(self, item: NetBufferList, following: NetBufferList) -> None:
        """The same packet goes on as another list: its tags go along, without an event.  Source: NT-3."""
        here = self._contexts.pop(item, None)
        if here is not None:
            self._contexts.setdefault(following, {}).update(here)

    def leave(self, item: NetBufferList) -> None:
        """The packet leaves the stack: its tags go, each with EXIT_NETIO.  Source: NT-5."""
        for tag, tagged in self._contexts.pop(item, {}).items():
            self._tell(TagEvent.EXIT_NETIO, item, None, tag, tagged)

    def leaks(self) -> list[str]:
        """Contexts still hanging on lists, in words.  Source: OR-3."""
        return [
            f"a context under tag {tag} still hangs on {item!r} (NT-5)"
            for item, here in self._contexts.items()
            for tag in here
        ]

    def __bool__(self) -> bool:
        return bool(self._contexts)

    def _take(self, item: NetBufferList, tag: int) -> _Tagged:
        here = self._contexts[item]
        tagged = here.pop(tag)
        if not here:
            del self._contexts[item]
        return tagged

    def _tell(
        self, event: TagEvent, item: NetBufferList, new: NetBufferList | None, tag: int, tagged: _Tagged
    ) -> None:
        try:
            tagged.notify(event, item, new, tagged.layer, tagged.context, tag)
        except Exception as error:  # the driver's own fault: told, and the run goes on
            self.core.callback_raised("notifyFn of a tagged list", error)

    @staticmethod
    def _check_flags(call: str, flags: int) -> None:
        if flags:
            raise FwpInvalidFlags(f"{call}: flags are reserved and must be 0, not {flags:#x}", rule="GE-6")
