"""A callout that takes every packet of any packet layer and injects it again, and a worker to do so later."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from emulator.callout import Callout
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.injection import SendParams
from emulator.interfaces import SUB_INTERFACE
from emulator.layers import layer_of
from emulator.netbuffer import NetBufferList
from emulator.stack import Stack
from emulator.wfptypes import Action, AddressFamily, InjectionType
from emulator.wfptypes import MetadataField as M
from tests.lab.conftest import Completions

ALL_TYPES = InjectionType.NETWORK | InjectionType.TRANSPORT | InjectionType.FORWARD
_OUT_TRANSPORT = ("OUTBOUND_TRANSPORT", "OUTBOUND_ICMP_ERROR")


class Worker:
    """Runs work one after the other on a thread of its own; `with` ends it when all is done."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run)
        self.failures: list[BaseException] = []

    def later(self, work: Callable[[], Any]) -> None:
        self._work.put(work)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception as error:
                self.failures.append(error)

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._work.put(None)
        self._thread.join()
        assert self.failures == []


class PutBack(Callout):
    """Blocks what it is shown, injects a clone, and lets pass what was injected.

    `edit` may change the clone first; `only` chooses packets; with a `worker` it injects out of band.
    """

    def __init__(
        self,
        stack: Stack,
        handle: InjectionHandle,
        *,
        only: Callable[[Indication], bool] = lambda seen: True,
        edit: Callable[[Indication, NetBufferList], None] | None = None,
        worker: Worker | None = None,
    ) -> None:
        self.stack = stack
        self.handle = handle
        self.only = only
        self.edit = edit
        self.worker = worker
        self.done = Completions(stack)
        self.visits: list[tuple[str, str]] = []
        self.states: Counter[str] = Counter()

    def classify(self, seen: Indication) -> None:
        if not self.only(seen):
            return seen.permit()
        item = seen.net_buffer_list
        state = "NO_DATA" if item is None else self.handle.state(item)[0].name
        self.visits.append((seen.info.group, state))
        self.states[state] += 1
        if item is None or self.handle.is_mine(item) or not seen.may_decide or item.next is not None:
            return seen.permit()
        if seen.metadata.has(M.ALE_CLASSIFY_REQUIRED):
            return seen.permit()
        inject = self.again(seen)
        if self.worker is None:
            inject()
        else:
            self.worker.later(inject)
        return seen.block(absorb=True)

    def again(self, seen: Indication) -> Callable[[], None]:
        """A function that injects a clone of what is shown, by the layer's own function."""
        group, handle, done = seen.info.group, self.handle, self.done
        metadata = seen.metadata
        family = AddressFamily.INET if seen.info.version == 4 else AddressFamily.INET6
        if group == "OUTBOUND_IPPACKET":
            clone = self._cloned(seen, 0)
            return lambda: handle.network_send(clone, done)
        if group == "IPFORWARD":
            clone, interface = self._cloned(seen, 0), seen.value("DESTINATION_INTERFACE_INDEX")
            return lambda: handle.forward(clone, done, family=family, interface=interface)
        if group == "INBOUND_IPPACKET":
            clone, interface = self._cloned(seen, metadata.ip_header_size), seen.value("INTERFACE_INDEX")
            return lambda: handle.network_receive(clone, done, interface=interface, sub_interface=SUB_INTERFACE)
        if seen.inbound:
            retreat = metadata.ip_header_size
            if metadata.has(M.TRANSPORT_HEADER_SIZE):
                retreat += metadata.transport_header_size
            clone, interface = self._cloned(seen, retreat), seen.interface
            return lambda: handle.transport_receive(
                clone, done, family=family, interface=interface, sub_interface=SUB_INTERFACE
            )
        clone = self._cloned(seen, 0)
        params, endpoint = self.send_params(seen), self.endpoint(seen)
        return lambda: handle.transport_send(clone, done, family=family, send_params=params, endpoint=endpoint)

    def _cloned(self, seen: Indication, retreat: int) -> NetBufferList:
        clone = seen.clone(retreat)
        if self.edit is not None:
            self.edit(seen, clone)
        return clone

    def send_params(self, seen: Indication) -> SendParams:
        metadata = seen.metadata
        scope = metadata.remote_scope_id if metadata.has(M.REMOTE_SCOPE_ID) else 0
        return SendParams(remote_address=seen.view.destination, remote_scope_id=scope)

    def endpoint(self, seen: Indication) -> Any:
        metadata = seen.metadata
        return metadata.transport_endpoint_handle if metadata.has(M.TRANSPORT_ENDPOINT_HANDLE) else 0


def inspect(stack: Stack, look: Callable[[Indication], Any], *groups: str, family: AddressFamily) -> None:
    """Have a function look at all that is shown at layers of one family, before others are asked."""

    class Look(Callout):
        def classify(self, seen: Indication) -> None:
            look(seen)

    registered = stack.register(Look())
    for group in groups:
        stack.add_filter(
            layer_of(group, family.version), registered, action=Action.CALLOUT_INSPECTION, weight=2**60
        )


def forgiven(stack: Stack, *rules: str) -> None:
    """Forget violations of these rules, which a test breaks on purpose; assert that there are no others."""
    assert set(stack.core.violations.rules()) <= set(rules)
    stack.core.violations.entries.clear()
