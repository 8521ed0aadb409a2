"""How drivers go while there is traffic."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from emulator.callout import Callout
from emulator.driver import Driver
from emulator.errors import DeviceBusy
from emulator.indication import Indication
from emulator.layers import layer_of
from emulator.netbuffer import NetBufferList
from emulator.scenario import Checks, scenario
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, CalloutFlag, InjectionType
from netns.patience import patient

PORT = 5000
QUEUED, IN_FLIGHT = 50, 10


class Hoard(Callout):
    """Takes datagrams and keeps their clones, until somebody injects them or it is told to stop taking."""

    def __init__(self, driver: Driver, family: AddressFamily, gate: threading.Event) -> None:
        self.driver = driver
        self.handle = driver.create_handle(family, InjectionType.NETWORK)
        self.kept: deque[NetBufferList] = deque()
        self.full = threading.Event()
        self.completing = threading.Event()
        self.taking = True
        self._gate = gate

    def classify(self, seen: Indication) -> None:
        if not self.taking or seen.view.destination_port != PORT or seen.injected_by(self.handle):
            return seen.permit()
        self.kept.append(seen.clone())
        if len(self.kept) >= QUEUED + IN_FLIGHT:
            self.full.set()
        return seen.block(absorb=True)

    def inject(self, count: int) -> None:
        """Send so many of what it keeps, the oldest first."""
        for _ in range(count):
            self.handle.network_send(self.kept.popleft(), self.completed)

    def completed(self, context: Any, item: NetBufferList, dispatch_level: bool) -> None:
        """Free a clone, once the gate is open."""
        self.completing.set()
        self._gate.wait(patient(10))
        self.driver.done(context, item, dispatch_level)


@scenario(cases=("H01",), rules=("HD-2", "HD-9", "OR-3", "OR-4"), own_timing=True)
def unloading_under_traffic(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A driver unloads with 50 datagrams queued and 10 in flight: it sends all on, and nothing is lost or leaked.

    host --datagrams--> (OUTBOUND_IPPACKET: kept; unload) --> peer
    """
    host, traffic = pair.host, Datagrams(pair.host, pair.peer, family, port=PORT)
    check("control before", traffic.exchange([b"before"]), [b"before"])
    gate = threading.Event()
    driver = host.driver()
    hoard = Hoard(driver, family, gate)
    driver.add(hoard, "OUTBOUND_IPPACKET", family)
    payloads = [b"%d" % number for number in range(QUEUED + IN_FLIGHT)]
    traffic.send(*payloads)
    check("all are taken", hoard.full.wait(patient(10)), True)
    hoard.inject(IN_FLIGHT)
    check("a completion runs, and holds the others up", hoard.completing.wait(patient(10)), True)
    during = [b"during %d" % number for number in range(20)]
    traffic.send(*during)
    unloaded = threading.Event()

    def unload() -> None:
        hoard.taking = False
        hoard.inject(QUEUED)
        driver.unload()
        unloaded.set()

    thread = threading.Thread(target=unload, daemon=True)
    thread.start()
    check("the unload waits for what is in flight", unloaded.is_set(), False)
    gate.set()
    check("and ends after it", unloaded.wait(patient(20)), True)
    thread.join()
    check("completions", driver.done.counted(), {"SUCCESS": QUEUED + IN_FLIGHT})
    check("kept by the driver", len(hoard.kept), 0)
    check("everything arrives, once", sorted(traffic.arrived()), sorted(payloads + during))
    check("control after", traffic.exchange([b"after"]), [b"after"])


class Marking(Callout):
    """Looks at the datagrams of flows that carry its context."""

    flags = CalloutFlag.CONDITIONAL_ON_FLOW

    def __init__(self) -> None:
        self.contexts: list[Any] = []
        self.deleted: list[Any] = []

    def classify(self, seen: Indication) -> None:
        self.contexts.append(seen.flow_context)
        seen.permit()

    def flow_delete(self, layer: int, callout_id: int, context: Any) -> None:
        self.deleted.append(context)


@scenario(cases=("H02",), rules=("CO-4", "CO-5", "FL-4"))
def unregistering_with_flow_contexts(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A callout with contexts on live flows cannot be unregistered until each has been taken back, once.

    host --three flows--> (ALE_FLOW_ESTABLISHED: attach; DATAGRAM_DATA: look) --> peer
    """
    host, peer = pair.host, pair.peer
    traffic = Datagrams(host, peer, family, port=PORT)
    engine = host.stack.core.engine
    layer = int(layer_of("DATAGRAM_DATA", family.version))
    marking = Marking()
    flows: list[int] = []
    with host.driver() as driver:
        callout_id = driver.registered(marking).callout_id
        looking = driver.add(marking, "DATAGRAM_DATA", family)

        def attach(seen: Indication) -> None:
            flows.append(seen.flow_handle)
            engine.flows.associate(seen.flow_handle, layer, callout_id, seen.flow_handle)
            seen.permit()

        attaching = driver.add(attach, "ALE_FLOW_ESTABLISHED", family, where={"IP_REMOTE_PORT": PORT})
        senders = [host.socket(family) for _ in range(3)]

        def talk(text: bytes) -> list[bytes]:
            for sender in senders:
                sender.sendto(text, (peer.address(family), PORT))
            return traffic.arrived()

        check("with contexts", talk(b"one"), [b"one"] * 3)
        check("each flow was shown with its own", marking.contexts, flows)
        driver.remove(*attaching)
        with check.raises("unregistering", DeviceBusy):
            engine.callouts.unregister(callout_id)
        driver.remove(*looking)
        check("no context came back by that", marking.deleted, [])
        check("the flows go on", talk(b"two"), [b"two"] * 3)
        check("unseen", marking.contexts, flows)
        for flow in flows:
            engine.flows.remove(flow, layer, callout_id)
        check("taken back, each once", marking.deleted, flows)
    check("unregistered with the driver", engine.callouts.by_id(callout_id), None)
    check("control after", talk(b"three"), [b"three"] * 3)
