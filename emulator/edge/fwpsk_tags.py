"""Tagging lists with contexts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from emulator.edge.fwpsk_edge import Edge, as_status
from emulator.netbuffer import NetBufferList
from emulator.wfptypes import WindowsVersion

NotifyFn = Callable[..., object]
"""notifyFn(eventType, netBufferList, newNetBufferList, layerId, context, contextTag)."""


class TagFunctions(Edge):
    """The tagging functions, from Windows 7.  Source: NT-1..NT-8."""

    def FwpsNetBufferListGetTagForContext0(self) -> int:
        """A tag that no other has; 0 where the profile has no tags.  Source: NT-1, VE-1."""
        return self.core.tags.new_tag() if self.core.profile >= WindowsVersion.WINDOWS_7 else 0

    @as_status(since=WindowsVersion.WINDOWS_7)
    def FwpsNetBufferListAssociateContext0(
        self,
        netBufferList: NetBufferList | None,
        layerId: int,
        context: int,
        contextTag: int,
        providerGuid: UUID | None,
        deviceObject: Any,
        notifyFn: NotifyFn | None,
        flags: int,
    ) -> None:
        """Hang a context on a list; notifyFn is told what becomes of it.  Source: NT-2, NT-5."""
        self.core.tags.associate(netBufferList, layerId, context, contextTag, notifyFn, flags)

    @as_status(since=WindowsVersion.WINDOWS_8)
    def FwpsNetBufferListAssociateContext1(
        self,
        netBufferList: NetBufferList | None,
        layerId: int,
        context: int,
        contextTag: int,
        providerGuid: UUID | None,
        deviceObject: Any,
        notifyFn: NotifyFn | None,
        flags: int,
    ) -> None:
        """As version 0, for a notifyFn that returns a status.  Source: NT-2."""
        self.core.tags.associate(netBufferList, layerId, context, contextTag, notifyFn, flags)

    @as_status(out=True, since=WindowsVersion.WINDOWS_7)
    def FwpsNetBufferListRetrieveContext0(
        self, netBufferList: NetBufferList | None, contextTag: int, removeContext: bool, flags: int
    ) -> Any:
        """The context on a list under a tag.  Source: NT-3, NT-6."""
        return self.core.tags.retrieve(netBufferList, contextTag, remove=bool(removeContext), flags=flags)

    @as_status(since=WindowsVersion.WINDOWS_7)
    def FwpsNetBufferListRemoveContext0(
        self, netBufferList: NetBufferList | None, contextTag: int, flags: int
    ) -> None:
        """Take the context under a tag off a list, or off all lists.  Source: NT-4."""
        self.core.tags.remove(netBufferList, contextTag, flags)

    # Names without a version are the same functions (HC-3).
    FwpsNetBufferListGetTagForContext = FwpsNetBufferListGetTagForContext0
    FwpsNetBufferListRetrieveContext = FwpsNetBufferListRetrieveContext0
    FwpsNetBufferListRemoveContext = FwpsNetBufferListRemoveContext0

    @property
    def FwpsNetBufferListAssociateContext(self) -> Any:
        """The newest version that the profile has."""
        if self.core.profile >= WindowsVersion.WINDOWS_8:
            return self.FwpsNetBufferListAssociateContext1
        return self.FwpsNetBufferListAssociateContext0
