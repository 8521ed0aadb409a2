"""What every wrong callout of this folder is given: a host, a peer, one driver; and how a case is written down.

A case is a function of a scene and of `right`: what it does when `right` is False breaks the rules it names, and
what it does when `right` is True is the same driver as it should be.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from emulator.core import Core
from emulator.driver import Driver
from emulator.handle import InjectionHandle
from emulator.indication import Indication
from emulator.netbuffer import NetBufferList
from emulator.stream_bench import StreamBench
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.verifier import Level
from emulator.wfptypes import AddressFamily, InjectionType
from tests.lab.network_packets import PORT, between

ALL = InjectionType.NETWORK | InjectionType.TRANSPORT | InjectionType.FORWARD | InjectionType.STREAM
Done = Callable[[Any, NetBufferList, bool], None]


@dataclass(frozen=True)
class Case:
    """One mistake: what it is called, which rules it breaks, what the first finding says, and the code."""

    name: str
    rules: tuple[str, ...]
    says: str
    run: Callable[[Scene, bool], None]
    versions: tuple[int, ...] = (4, 6)
    bed: str = ""
    """The kind of host it needs: "inline" completions, or checksums left to a card, "offload"."""


CASES: list[Case] = []


def wrong(
    *rules: str, says: str, bed: str = "", versions: tuple[int, ...] = (4, 6)
) -> Callable[[Callable[[Scene, bool], None]], Callable[[Scene, bool], None]]:
    """Write a function down as a case."""

    def note(run: Callable[[Scene, bool], None]) -> Callable[[Scene, bool], None]:
        CASES.append(Case(run.__name__, rules, says, run, versions, bed))
        return run

    return note


class Scene:
    """One run of one case, on a bed that others have used before; what it leaves behind is found afterwards."""

    def __init__(self, pair: Pair, family: AddressFamily) -> None:
        self.pair = pair
        self.family = family
        self.version = family.version or 4
        self.host, self.peer = pair.host, pair.peer
        self.stack = pair.host.stack
        self.core: Core = self.stack.core
        self.ownership = self.core.ownership
        self.driver = Driver(self.core, "wrong")
        self.handle: InjectionHandle = self.driver.create_handle(family, ALL)
        self.later = ExitStack()
        """What gives back in the end what a case left behind on purpose."""
        self._bench: StreamBench | None = None

    @property
    def done(self) -> Done:
        """A completion function that frees what it gets."""
        return self.driver.done

    # -- packets ----------------------------------------------------------------------------------------

    def packet(self, payload: bytes = b"made", *, inbound: bool = False) -> bytes:
        """A whole UDP packet from the host to the peer, or the other way, with right checksums."""
        ends = (self.peer, self.host) if inbound else (self.host, self.peer)
        return between(*ends, self.family, payload)

    def created(self, octets: bytes | bytearray = b"", *, backfill: int = 0) -> NetBufferList:
        """A list of the driver's own."""
        return self.ownership.create_from(octets or self.packet(), backfill=backfill)

    def interface(self, seen: Indication) -> dict[str, int]:
        """The arrival interface, as the receive functions want it."""
        return {"interface": seen.value("INTERFACE_INDEX"), "sub_interface": seen.value("SUB_INTERFACE_INDEX")}

    def free(self, item: NetBufferList) -> None:
        """Free a list as it should be."""
        self.driver.free(item)

    # -- one packet past a callout ----------------------------------------------------------------------

    def outbound(self, classify: Callable[[Indication], None], at: str = "OUTBOUND_IPPACKET") -> None:
        """Show one datagram of the host to a classify function."""
        self._show(classify, at, Datagrams(self.host, self.peer, self.family, port=PORT))

    def inbound(self, classify: Callable[[Indication], None], at: str = "INBOUND_IPPACKET") -> None:
        """Show one datagram of the peer to a classify function."""
        self._show(classify, at, Datagrams(self.peer, self.host, self.family, port=PORT))

    def _show(self, classify: Callable[[Indication], None], at: str, traffic: Datagrams) -> None:
        def mine(seen: Indication) -> None:
            if PORT in (seen.view.destination_port, seen.view.source_port):
                classify(seen)
            else:
                seen.permit()

        filters = self.driver.add(mine, at, self.family)
        traffic.exchange([b"datagram"])
        self.settle()
        self.driver.remove(*filters)
        traffic.close()

    def settle(self) -> None:
        """Wait until nothing is under way."""
        self.stack.settle()

    # -- a stream, without a network ----------------------------------------------------------------------

    @property
    def bench(self) -> StreamBench:
        """One TCP connection whose callouts are watched as closely."""
        if self._bench is None:
            core = Core(_no_packets, level=Level.FULL)
            core.readiness = lambda: None
            self._bench = StreamBench(version=self.version, core=core)
        return self._bench

    def close(self) -> None:
        """Unload the driver, in order; what it leaked stays."""
        self.driver.unload()

    def cores(self) -> list[Core]:
        """All hosts of the scene."""
        return [self.core] + ([self._bench.core] if self._bench is not None else [])


def _no_packets(injection: object) -> None:
    raise AssertionError("a bench has no packets")
