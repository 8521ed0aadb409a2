"""Registering and unregistering callouts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING
from uuid import UUID

from emulator.callout import Callout, ClassifyFn, FlowDeleteFn, NotifyFn, RegisteredCallout
from emulator.errors import CalloutNotFound, DeviceBusy, FwpAlreadyExists, FwpInUse, FwpNullPointer
from emulator.ntstatus import NtStatus
from emulator.wfptypes import CalloutFlag, NotifyType

if TYPE_CHECKING:
    from emulator.core import Core
    from emulator.filters import Filter
    from emulator.indication import Indication


class CalloutRegistry:
    """The callouts of one host, by key and by id.

    `changed(key, callout)` is called when a key gets a callout, and with None when it loses it.
    """

    def __init__(self, core: Core, changed: Callable[[UUID, RegisteredCallout | None], None]) -> None:
        self.core = core
        self._changed = changed
        self._by_key: dict[UUID, RegisteredCallout] = {}
        self._by_id: dict[int, RegisteredCallout] = {}
        self._next = 0
        self._guard = threading.Lock()
        self._watched: Callable[[ClassifyFn], ClassifyFn] | None = None
        self.contexts_of: Callable[[int], int] = lambda callout_id: 0
        """How many flow contexts a callout still has; set by the flow contexts."""

    def register(
        self,
        classify: ClassifyFn | None,
        *,
        key: UUID | None = None,
        flags: CalloutFlag = CalloutFlag(0),  # noqa: B008  an immutable value
        notify: NotifyFn | None = None,
        flow_delete: FlowDeleteFn | None = None,
    ) -> RegisteredCallout:
        """Make a callout known; filters that name its key are asked through it from now on.

        Raises FwpNullPointer (no classify function), FwpAlreadyExists (key in use).
        Source: CO-1, CO-2.
        """
        call = "FwpsCalloutRegister"
        self._passive_only(call)
        if classify is None:
            raise FwpNullPointer(f"{call}: classifyFn is missing", rule="CO-1")
        if self.core.watch is not None:
            classify = self.core.watch.watched(classify)
        if self._watched is not None:
            classify = self._watched(classify)
        with self._guard:
            self._next += 1
            callout = RegisteredCallout(
                self._next, classify, key=key, flags=flags, notify=notify, flow_delete=flow_delete
            )
            if callout.key in self._by_key:
                raise FwpAlreadyExists(f"{call}: {self._by_key[callout.key]!r} has this key", rule="CO-1")
            self._by_key[callout.key] = callout
            self._by_id[callout.callout_id] = callout
        self._changed(callout.key, callout)
        return callout

    def register_object(self, callout: Callout, *, key: UUID | None = None) -> RegisteredCallout:
        """Register a `Callout`; raises as `register`."""
        return self.register(
            callout.classify,
            key=key,
            flags=callout.flags,
            notify=callout.notify,
            flow_delete=callout.flow_delete,
        )

    def watch(self, clock: Callable[[], float], limit: float) -> None:
        """Record a violation for every classify longer than `limit` seconds, of callouts registered from now on.

        `clock` tells seconds; this module has none of its own.  Source: CO-22.
        """

        def watched(classify: ClassifyFn) -> ClassifyFn:
            @wraps(classify)
            def timed(seen: Indication) -> None:
                begin = clock()
                try:
                    classify(seen)
                finally:
                    took = clock() - begin
                    if took > limit:
                        name = getattr(classify, "__qualname__", repr(classify))
                        what = f"{name} took {took * 1000:.1f} ms, more than {limit * 1000:.1f}: leave work to a worker"
                        self.core.violate("CO-22", "classifyFn", what)

            return timed

        self._watched = watched

    def unregister(self, callout_id: int) -> None:
        """End a callout: no new classifies, wait for running ones, then forget it.

        Raises CalloutNotFound, DeviceBusy (flow contexts remain: remove them and call again), FwpInUse
        (another thread is at it).  Source: CO-4, CO-5, CO-6.
        """
        call = "FwpsCalloutUnregisterById0"
        self._passive_only(call)
        with self._guard:
            callout = self._by_id.get(callout_id)
            if callout is None:
                raise CalloutNotFound(f"{call}: there is no callout {callout_id}", rule="CO-4")
            if callout.leaving:
                raise FwpInUse(f"{call}: {callout!r} is being unregistered on another thread", rule="CO-4")
            callout.leaving = True
            callout.unregistering = True
        try:
            self._wait_idle(callout)
            left = self.contexts_of(callout_id)
            if left:
                raise DeviceBusy(f"{call}: {callout!r} still has {left} flow contexts", rule="CO-4")
            with self._guard:
                del self._by_id[callout_id]
                del self._by_key[callout.key]
            self._changed(callout.key, None)
        finally:
            callout.leaving = False

    def _wait_idle(self, callout: RegisteredCallout) -> None:
        if self.core.at_dispatch():
            return  # recorded as a violation already; waiting here would be waiting for ourselves
        with callout.idle:
            while callout.running:
                callout.idle.wait()

    @property
    def mid_stream(self) -> bool:
        """True while a callout is there that may join connections in their middle (ST-42)."""
        with self._guard:
            return any(callout.mid_stream for callout in self._by_id.values())

    def by_key(self, key: UUID | None) -> RegisteredCallout | None:
        """The callout with this key."""
        return self._by_key.get(key) if key is not None else None

    def by_id(self, callout_id: int) -> RegisteredCallout | None:
        """The callout with this id."""
        return self._by_id.get(callout_id)

    def tell(self, kind: NotifyType, item: Filter) -> NtStatus:
        """Tell the callout of a filter what happens to it, if it wants to know; its answer.

        A function that raises is a violation and answers UNSUCCESSFUL.  Source: CO-30.
        """
        callout = item.callout
        if callout is None or callout.notify is None:
            return NtStatus.SUCCESS
        if kind == NotifyType.ADD_FILTER_POST_COMMIT and not callout.flags & CalloutFlag.ENABLE_COMMIT_ADD_NOTIFY:
            return NtStatus.SUCCESS
        try:
            return callout.notify(kind, None if kind == NotifyType.DELETE_FILTER else item.key, item)
        except Exception as error:  # the driver's own fault: told, and the run goes on
            self.core.callback_raised(f"notifyFn of {callout!r}", error)
            return NtStatus.UNSUCCESSFUL

    def _passive_only(self, call: str) -> None:
        if self.core.at_dispatch():
            self.core.violate("GE-5", call, "called from a classify or completion function; it needs PASSIVE_LEVEL")
