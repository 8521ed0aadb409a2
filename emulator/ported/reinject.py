"""The driver that everybody begins with: it blocks what it is shown, clones it, and injects the clone."""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Self

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.injection import CompletionFn, SendParams
from emulator.interfaces import SUB_INTERFACE
from emulator.layers import layer_info
from emulator.netbuffer import NetBufferList
from emulator.wfptypes import Action, AddressFamily, InjectionType
from emulator.wfptypes import MetadataField as M

ALL_TYPES = InjectionType.NETWORK | InjectionType.TRANSPORT | InjectionType.FORWARD
HOST_LAYERS = (
    "INBOUND_IPPACKET",
    "OUTBOUND_IPPACKET",
    "INBOUND_TRANSPORT",
    "OUTBOUND_TRANSPORT",
    "DATAGRAM_DATA",
    "INBOUND_ICMP_ERROR",
    "OUTBOUND_ICMP_ERROR",
)
"""The packet layers that a host's own traffic meets."""
ROUTER_LAYERS = ("INBOUND_IPPACKET", "IPFORWARD")
"""Those that traffic in transit meets."""
TCP = 6


class OutOfBand:
    """Runs work one piece after the other on a thread of its own; leaving `with` ends it when all is done."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="out-of-band", daemon=True)
        self.failures: list[Exception] = []
        """What pieces of work have raised."""

    def later(self, work: Callable[[], Any]) -> None:
        """Have it run after what was given before."""
        self._work.put(work)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception as error:
                self.failures.append(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._work.put(None)
        self._thread.join()


class Reinject(Callout):
    """Blocks what it is shown at any packet layer, injects a clone, and lets pass what it has injected.

    `only` chooses packets; `edit` may change a clone first; TCP at the transport layers is injected by
    `worker`, where there is one (TS-16, TR-11).  `done` completes, and frees the clones.
    """

    def __init__(
        self,
        handle: InjectionHandle,
        done: CompletionFn,
        *,
        only: Callable[[Indication], bool] = lambda seen: True,
        edit: Callable[[Indication, NetBufferList], None] | None = None,
        worker: OutOfBand | None = None,
    ) -> None:
        self.handle = handle
        self.done = done
        self.only = only
        self.edit = edit
        self.worker = worker
        self.states: Counter[str] = Counter()
        """How often a packet was shown in each state of the handle, by name; NO_DATA where there was none."""

    def classify(self, seen: Indication) -> None:
        if not self.only(seen):
            return seen.permit()
        item = seen.net_buffer_list
        self.states["NO_DATA" if item is None else self.handle.state(item)[0].name] += 1
        if item is None or self.handle.is_mine(item) or not seen.may_decide or item.next is not None:
            return seen.permit()
        if seen.metadata.has(M.ALE_CLASSIFY_REQUIRED):  # the accept layer will see it (TR-8)
            return seen.permit()
        inject = self.again(seen)
        if self.worker is not None and seen.view.protocol == TCP and layer_info(seen.layer).tcp_out_of_band:
            self.worker.later(inject)
        else:
            inject()
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
        """Where a transport send goes: to where the packet was going."""
        metadata = seen.metadata
        scope = metadata.remote_scope_id if metadata.has(M.REMOTE_SCOPE_ID) else 0
        return SendParams(remote_address=seen.view.destination, remote_scope_id=scope)

    def endpoint(self, seen: Indication) -> Any:
        """Whose options a transport send takes: the packet's own endpoint, 0 when it has none."""
        metadata = seen.metadata
        return metadata.transport_endpoint_handle if metadata.has(M.TRANSPORT_ENDPOINT_HANDLE) else 0


def reinject_at(
    driver: Driver, family: AddressFamily, layers: Iterable[str], **how: Any
) -> dict[str, Reinject]:
    """Put a callout with a handle of its own at each layer, so that a packet is injected once at every one.

    `how` goes to `Reinject`.
    """
    made = {}
    for layer in layers:
        made[layer] = Reinject(driver.create_handle(family, ALL_TYPES), driver.done, **how)
        driver.add(made[layer], layer, family, action=Action.CALLOUT_TERMINATING)
    return made
