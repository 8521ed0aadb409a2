"""Malformed packets at every layer: in, through and out, past callouts that look at all of it and put it back.

Nothing fails but by words, everything is in the books, and what comes afterwards is as it was before.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from emulator.driver import Driver
from emulator.errors import WfpError
from emulator.indication import Indication
from emulator.metadatabits import MetadataField
from emulator.octets import TCP, describe
from emulator.topology import Host, Routed
from emulator.torture.drivers import WAYS, PutBack, Way
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily
from netns.namespace import Namespace
from netns.patience import patient
from tests.lab import malformed
from tests.lab.layer_log import LINUX, V4, V6

IPV6_HDRINCL = 36
ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}
OTHERS = ("DATAGRAM_DATA_V{}", "INBOUND_ICMP_ERROR_V{}", "OUTBOUND_ICMP_ERROR_V{}", "ALE_AUTH_CONNECT_V{}",
          "ALE_AUTH_RECV_ACCEPT_V{}", "INBOUND_TRANSPORT_V{}_DISCARD", "INBOUND_IPPACKET_V{}_DISCARD")  # fmt: skip

OWN = [*(socket.inet_pton(LINUX[V4], text) for text in ("10.1.0.1", "10.2.0.1")),
       *(socket.inet_pton(LINUX[V6], text) for text in ("fd01::1", "fd02::1"))]  # fmt: skip
"""The router's addresses; a packet to one is shown on its way through as well."""

pytestmark = pytest.mark.timeout(patient(300))


class LookAndPutBack(PutBack):
    """Looks at everything that there is to see of a packet, and puts back whatever it may."""

    def __init__(self, driver: Driver, family: AddressFamily, way: Way, seen: Counter[str]) -> None:
        super().__init__(driver, family, way)
        self.seen = seen

    def classify(self, seen: Indication) -> None:
        look(seen, self.seen)
        if seen.injected_by(self.handle) or self._is_not_to_be_taken(seen):
            return seen.permit()
        item = None
        try:
            item = self.way.take(self, seen)
            self.way.inject(self, seen, item)
        except WfpError:
            if item is not None:
                self.driver.free(item)
        return seen.block(absorb=True)

    def _is_not_to_be_taken(self, seen: Indication) -> bool:
        """TCP not inline (TS-16), what is to be accepted first not before (TR-8), our own not forwarded (FW-7)."""
        if self.way.routed:
            return seen.view.destination in OWN
        return "TRANSPORT" in self.way.layer and (
            seen.view.protocol == TCP or seen.metadata.has(MetadataField.ALE_CLASSIFY_REQUIRED)
        )


def look(seen: Indication, counted: Counter[str]) -> None:
    counted[seen.info.layer.name] += 1
    view = seen.view
    describe(bytes(view.buffer[view.start :]))
    _ = (view.ports, view.source, view.tcp_flags, view.icmp_type, view.payload_offset, view.total_length, seen.copy())
    for field in seen.info.fields:
        seen.value(field)
    metadata = seen.metadata
    _ = (metadata.ip_header_size, metadata.transport_header_size)


def everywhere(host: Host, family: AddressFamily, owned: ExitStack) -> Counter[str]:
    """A driver at each packet layer of a host; how often each layer showed something."""
    counted: Counter[str] = Counter()
    for way in WAYS:
        if not way.name.startswith("copy"):
            driver = owned.enter_context(host.driver(way.name))
            driver.add(LookAndPutBack(driver, family, way, counted), way.layer, family)

    def watch(seen: Indication) -> None:
        look(seen, counted)
        seen.permit()

    watcher = owned.enter_context(host.driver("watcher"))
    for layer in OTHERS:
        watcher.add(watch, layer.format(family.version), family)
    return counted


def frames(inside: Namespace, to: str, version: int, packets: list[tuple[str, bytes]]) -> None:
    """Put packets on the wire as they are, from a namespace's eth0 to a hardware address."""
    made = inside.open_in(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    with made:
        made.bind(("eth0", 0))
        mac = bytes.fromhex(inside.mac_of("eth0").replace(":", ""))
        header = bytes.fromhex(to.replace(":", "")) + mac + ETHERTYPES[version]
        for _, packet in packets:
            made.send(header + packet)


def own(inside: Namespace, family: AddressFamily, to: str, packets: list[tuple[str, bytes]]) -> int:
    """Send packets of a host's own, whatever their headers say; how many the kernel took."""

    def raw() -> socket.socket:
        made = socket.socket(LINUX[family], socket.SOCK_RAW, socket.IPPROTO_RAW)
        if family == AddressFamily.INET6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        return made

    taken = 0
    with inside.open_in(raw) as made:
        for _, packet in packets:
            with suppress(OSError):
                taken += made.sendto(packet, (to, 0)) > 0
    return taken


@pytest.fixture
def bed(family: AddressFamily) -> Iterator[Routed]:
    with Routed() as made:
        yield made


def good_ones_pass(bed: Routed, family: AddressFamily, port: int) -> None:
    for source, target in ((bed.left, bed.mid), (bed.left, bed.right), (bed.mid, bed.right)):
        traffic = Datagrams(source, target, family, port=port)
        assert traffic.exchange([b"one", b"two"]) == [b"one", b"two"], f"{source.name} to {target.name}"
        traffic.close()


@pytest.mark.rule("NR-7", "LA-20", "FW-6")
def test_malformed_packets_at_every_layer_do_no_harm(bed: Routed, family: AddressFamily) -> None:
    version = family.version or 4
    mid, stack = bed.mid, bed.mid.stack
    with ExitStack() as owned:
        good_ones_pass(bed, family, 6000)
        counted = everywhere(mid, family, owned)
        good_ones_pass(bed, family, 6001)
        before = Counter(counted)
        mac = mid.namespace.mac_of("eth0")
        source = bed.left.octets(family)
        for target in (OWN[0 if version == 4 else 2], bed.right.octets(family)):
            frames(bed.left.namespace, mac, version, list(malformed.packets(version, source, target)))
            stack.settle()
            good_ones_pass(bed, family, 6002)
        outbound = list(malformed.packets(version, mid.octets(family), bed.right.octets(family)))
        assert own(mid.namespace, family, bed.right.address(family), outbound) > len(outbound) // 3
        stack.settle()
        good_ones_pass(bed, family, 6003)
        more = counted - before
        for layer in ("INBOUND_IPPACKET", "INBOUND_TRANSPORT", "IPFORWARD", "OUTBOUND_TRANSPORT", "OUTBOUND_IPPACKET"):
            assert more[f"{layer}_V{version}"] > 20, more
    assert [str(error) for _, error in stack.core.callback_errors] == []
    assert [str(violation) for violation in stack.core.violations] == []
    assert [str(error) for _, error in stack.core.lab_errors] == []
    assert stack.core.leaks() == []
    bed.close_stacks()
    assert stack.books.closed, stack.books.as_dict()


@pytest.mark.rule("NR-7")
def test_a_packet_as_large_as_they_come_is_put_back_whole(bed: Routed, family: AddressFamily) -> None:
    for link in (bed.near, bed.far):
        for end in link.ends:
            end.set_mtu(65535)
    payload = bytes(range(256)) * 254
    with ExitStack() as owned:
        everywhere(bed.mid, family, owned)
        for source, target in ((bed.left, bed.mid), (bed.left, bed.right), (bed.mid, bed.right)):
            traffic = Datagrams(source, target, family, port=6000)
            assert traffic.exchange([payload]) == [payload], f"{source.name} to {target.name}"
            traffic.close()
    bed.close_stacks()
    assert bed.mid.stack.books.closed
    assert [str(violation) for violation in bed.mid.stack.core.violations] == []
