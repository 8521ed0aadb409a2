"""One function for each kernel feature: it does the real thing on a bench of two joined namespaces.

A probe returns a word about what it saw, or raises: then the feature is not there, and the exception says why.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Literal

from netns.capture import Capture
from netns.lab import Lab
from netns.lease import living
from netns.namespace import Namespace
from netns.nftrules import can_gather
from netns.probequeue import ProbeQueue
from netns.redirect import Redirect
from netns.rules import Backend, Hook, InstalledRules, Mark, QueueRule
from netns.veth import Bridge, VethPair

NEAR = {4: "192.0.2.1", 6: "2001:db8::1"}
FAR = {4: "192.0.2.2", 6: "2001:db8::2"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
PROGRAM = {4: "iptables", 6: "ip6tables"}
IPV6_HDRINCL = 36
MARK = 0x5A5A
CANARY = b"wfplab probe"
TIMEOUT_SECONDS = 5.0
ETHERTYPE_EXPERIMENTAL = b"\x88\xb5"


@dataclass(slots=True)
class Bench:
    """Two hosts and the cable between them: `near` and `far`, both ends called eth0."""

    lab: Lab
    near: Namespace
    far: Namespace
    _port: int = field(default=9000)

    @classmethod
    def build(cls, lab: Lab) -> Bench:
        """Set the bench up in an empty lab, which owns it. Raises LabError."""
        near, far = lab.namespace("near"), lab.namespace("far", forwarding=True)
        lab.link(near, far, addresses=([f"{NEAR[4]}/24", f"{NEAR[6]}/64"], [f"{FAR[4]}/24", f"{FAR[6]}/64"]))
        near.add_route("0.0.0.0/0", via=FAR[4])
        near.add_route("::/0", via=FAR[6])
        return cls(lab, near, far)

    def port(self) -> int:
        """A port (or queue) number that no other probe of this bench uses."""
        self._port += 1
        return self._port


def bridge(bench: Bench) -> str:
    Bridge(bench.far, name="probe-br").close()
    return ""


def leases(bench: Bench) -> str:
    if bench.lab.run not in [live.run for live in living(bench.lab.directory)]:
        raise OSError(0, "a held lock is not seen by others")
    return ""


def packet_socket(bench: Bench) -> str:
    with Capture(bench.far, "eth0") as capture, _udp(bench.near, 4) as sender:
        sender.sendto(CANARY, (FAR[4], bench.port()))
        capture.until(lambda frame: CANARY in frame.octets, TIMEOUT_SECONDS)
    return ""


def ingress_redirect(bench: Bench) -> str:
    frame = b"\xff" * 6 + b"\x02" * 6 + ETHERTYPE_EXPERIMENTAL + CANARY.ljust(46, b"\0")
    with ExitStack() as stack:
        pair = stack.enter_context(_helper_pair(bench.far))
        stack.enter_context(Redirect(bench.far, pair.a.name, "eth0"))
        capture = stack.enter_context(Capture(bench.far, "eth0"))
        sender = stack.enter_context(bench.far.open_in(lambda: _packet_sender(pair.a.name)))
        sender.send(frame)
        capture.until(lambda seen: CANARY in seen.octets and not seen.is_outgoing, TIMEOUT_SECONDS)
    return ""


def raw_marked(version: int) -> Callable[[Bench], str]:
    """Raw sends with our own header, whose mark a netfilter rule sees."""

    def probe(bench: Bench) -> str:
        port = bench.port()
        program = PROGRAM[version]
        rule = f"OUTPUT -p udp --dport {port} -m mark --mark {MARK:#x} -j ACCEPT"
        change_mangle(bench.near, version, f"-A {rule}")
        try:
            with _udp(bench.far, version) as receiver, _raw(bench.near, version) as sender:
                receiver.bind((FAR[version], port))
                packet = _datagram(version, NEAR[version], FAR[version], port)
                sender.sendto(packet, (FAR[version], 0))
                if receiver.recv(100) != CANARY:
                    raise OSError(0, "another datagram than the one sent")
            saved = bench.near.run([f"{program}-save", "-c", "-t", "mangle"]).stdout
            if not any(line.startswith("[1:") and f"--dport {port} " in line for line in saved.splitlines()):
                raise OSError(0, "sent and received, but netfilter did not see the mark")
        finally:
            change_mangle(bench.near, version, f"-D {rule}")
        return ""

    return probe


def queue_traffic(version: int, backend: Backend) -> Callable[[Bench], str]:
    """A real packet goes through a queue and is received."""

    def probe(bench: Bench) -> str:
        port = bench.port()
        family: Literal[4, 6] = 4 if version == 4 else 6
        rule = QueueRule(family=family, hook=Hook.INPUT, queue=port, protocol="udp", destination_ports=(port, port))
        with ExitStack() as stack:
            queue = stack.enter_context(bench.far.open_in(lambda: ProbeQueue(port)))
            rules = stack.enter_context(InstalledRules(bench.far, [rule], backend=backend, tag="probe"))
            receiver = stack.enter_context(_udp(bench.far, version))
            receiver.bind((FAR[version], port))
            with _udp(bench.near, version) as sender:
                sender.sendto(CANARY, (FAR[version], port))
            if CANARY not in queue.accept_one() or receiver.recv(100) != CANARY:
                raise OSError(0, "another packet than the one sent")
            if rules.matched() != [1]:
                raise OSError(0, f"the rule counted {rules.matched()} packets, not 1")
        return ""

    return probe


def queue_mark_exemption(bench: Bench) -> str:
    rule = QueueRule(family=4, hook=Hook.OUTPUT, queue=0, exempt=Mark(MARK, 0xFFFF))
    InstalledRules(bench.near, [rule], tag="probe").close()
    return ""


def reassembly(bench: Bench) -> str:
    """IPv6 fragments can be put together ahead of INPUT."""
    if not can_gather(bench.far):
        raise OSError(0, "nft refuses tproxy, fib or notrack for IPv6")
    return ""


def queue_flag(flag: str) -> Callable[[Bench], str]:
    def probe(bench: Bench) -> str:
        port = bench.port()
        bench.far.open_in(lambda: ProbeQueue(port, flag=flag)).close()
        return ""

    return probe


def change_mangle(namespace: Namespace, version: int, change: str) -> None:
    """Make one change to table mangle by iptables-restore. Raises LabError."""
    namespace.run([f"{PROGRAM[version]}-restore", "--noflush"], input=f"*mangle\n{change}\nCOMMIT\n")


def _helper_pair(namespace: Namespace) -> VethPair:
    """A helper cable with both ends in one namespace; the caller closes it."""
    return VethPair(namespace, namespace, names=("probe-a", "probe-b"))


def _udp(namespace: Namespace, version: int) -> socket.socket:
    sock = namespace.open_in(lambda: socket.socket(FAMILY[version], socket.SOCK_DGRAM))
    sock.settimeout(TIMEOUT_SECONDS)
    return sock


def _raw(namespace: Namespace, version: int) -> socket.socket:
    sock = namespace.open_in(lambda: socket.socket(FAMILY[version], socket.SOCK_RAW, socket.IPPROTO_RAW))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    if version == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
    return sock


def _packet_sender(device: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((device, 0))
    return sock


def _datagram(version: int, source: str, destination: str, port: int) -> bytes:
    """A whole UDP datagram with CANARY in it."""
    addresses = socket.inet_pton(FAMILY[version], source) + socket.inet_pton(FAMILY[version], destination)
    length = 8 + len(CANARY)
    udp = struct.pack("!HHHH", port, port, length, 0) + CANARY
    if version == 4:  # a UDP checksum of 0 means none, and the kernel fills in that of the header
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_UDP, 0)
        return head + addresses + udp
    checksum = _checksum(addresses + struct.pack("!II", length, socket.IPPROTO_UDP) + udp)
    head = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64)
    return head + addresses + udp[:6] + struct.pack("!H", checksum) + udp[8:]


def _checksum(data: bytes) -> int:
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
