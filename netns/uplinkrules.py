"""What is lifted off an uplink into its splice namespace, as values and as text for nft. Pure.

In the host's namespace a table of family netdev stands on the uplink. A SYN that a rule chooses puts its
connection into a set; frames of connections in the set are handed to the splice namespace instead of going
on, all other frames are not touched. So connections that stood before are never lifted, and a lifted one
stays lifted when the rules change.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from netns.nftset import concatenated

PASSING = 0xA5000000
"""Mark of frames on their way from the splice namespace out of the uplink; cleared there."""
DIVERTED = 1
"""Mark, inside the splice namespace alone, of packets for its own sockets."""
HOST_SIDE_MAC = "02:77:66:70:00:01"
"""Source of frames that come to the host from the splice namespace."""
RELEASED_MAC = "02:77:66:70:00:02"
"""Source of a SYN that may go on to the listener; others wait."""
LISTENING_PORT = 1
SYN = "tcp flags & (fin|syn|rst|ack) == syn"
CONNECTIONS_MOST = 1 << 18

Ports = tuple[int, int]
Ends = tuple[str, int, str, int]
"""Local address, local port, remote address, remote port of a connection, as the host sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lift:
    """Chooses connections by their SYN; None matches everything."""

    version: Literal[4, 6]
    outbound: bool | None = None
    """True for those the host opens, False for those opened to it."""
    local: str | None = None
    """An address or prefix."""
    remote: str | None = None
    local_ports: Ports | None = None
    """First and last, both included."""
    remote_ports: Ports | None = None

    def __post_init__(self) -> None:
        for prefix in (self.local, self.remote):
            if prefix is not None and ipaddress.ip_network(prefix, strict=False).version != self.version:
                raise ValueError(f"{prefix} is not IPv{self.version}")
        for ports in (self.local_ports, self.remote_ports):
            if ports is not None and not 0 <= ports[0] <= ports[1] <= 65535:
                raise ValueError(f"ports {ports} are not first and last of a range")


def host_text(table: str, uplink: str, host_port: str, wire_port: str) -> str:
    """The table in the host's namespace; nothing is chosen yet.

    `host_port` leads to the splice namespace's side of the host, `wire_port` to that of the wire.
    """
    lines = [f"table netdev {table} {{"]
    for version in (4, 6):
        ip = _ip(version)
        lines += [
            f"set lifted{version} {{ typeof {ip} saddr . tcp sport . {ip} daddr . tcp dport",
            f"flags dynamic; size {CONNECTIONS_MOST}; }}",
            f"set own{version} {{ typeof {ip} saddr; }}",
        ]
    lines += ["chain chosen-out {\n}", "chain chosen-in {\n}"]
    lines += [
        f'chain out {{ type filter hook egress device "{uplink}" priority 0',
        f"meta mark {PASSING:#x} meta mark set 0 accept",
        *_lifting("out", host_port),
        "}",
        f'chain in {{ type filter hook ingress device "{uplink}" priority 0',
        f"ether saddr {HOST_SIDE_MAC} accept",
        *_lifting("in", wire_port),
        "}",
        f'chain back {{ type filter hook ingress device "{wire_port}" priority 0',
        f'meta l4proto {{ tcp, icmp, ipv6-icmp }} meta mark set {PASSING:#x} fwd to "{uplink}"',
        "drop",
        "}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _lifting(way: str, port: str) -> list[str]:
    """Fragments pass: nobody sends TCP in fragments but to get by. Errors about TCP go both ways."""
    return [
        "ip frag-off & 0x3fff != 0 accept",
        "exthdr frag exists accept",
        f"{SYN} jump chosen-{way}",
        f'{_key(4, way)} @lifted4 fwd to "{port}"',
        f'{_key(6, way)} @lifted6 fwd to "{port}"',
        f'icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} @th,136,8 6 dup to "{port}"',
        "icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem } "
        f'@th,112,8 6 dup to "{port}"',
    ]


def chosen_text(table: str, lifts: Iterable[Lift], addresses: Iterable[str]) -> str:
    """Exchange what is chosen, in one step; `addresses` are the host's own: what it forwards is not chosen."""
    table = f"netdev {table}"
    lines = [f"flush chain {table} chosen-out", f"flush chain {table} chosen-in"]
    own = list(addresses)
    for version in (4, 6):
        lines.append(f"flush set {table} own{version}")
        mine = [address for address in own if (":" in address) == (version == 6)]
        if mine:
            lines.append(f"add element {table} own{version} {{ {', '.join(mine)} }}")
    for lift in lifts:
        for way, outbound in (("out", True), ("in", False)):
            if lift.outbound in (None, outbound):
                add = f"add @lifted{lift.version} {{ {_key(lift.version, way)} }}"
                lines.append(f"add rule {table} chosen-{way} {_matches(lift, way)} {add}")
    return "\n".join(lines) + "\n"


def key_of(connection: Ends) -> tuple[str, bytes]:
    """The set that a connection is in, and its key there."""
    local, local_port, remote, remote_port = connection
    addresses = [ipaddress.ip_address(address) for address in (local, remote)]
    ports = [port.to_bytes(2, "big") for port in (local_port, remote_port)]
    return f"lifted{addresses[0].version}", concatenated(addresses[0].packed, ports[0], addresses[1].packed, ports[1])


def splice_text(devices: Sequence[str]) -> str:
    """The tables in the splice namespace: hold SYNs, and give everything to our own sockets."""
    names = ", ".join(f'"{device}"' for device in devices)
    return (
        "table netdev splice {\n"
        f"chain arrive {{ type filter hook ingress devices = {{ {names} }} priority 0\n"
        f"{SYN} ether saddr != {RELEASED_MAC} drop\n"
        "meta pkttype set host\n"
        "}\n}\n"
        "table inet splice {\n"
        "chain divert { type filter hook prerouting priority -150\n"
        'iifname "lo" accept\n'
        f"{SYN} meta nfproto ipv4 tproxy ip to :{LISTENING_PORT} meta mark set {DIVERTED} accept\n"
        f"{SYN} meta nfproto ipv6 tproxy ip6 to :{LISTENING_PORT} meta mark set {DIVERTED} accept\n"
        f"socket transparent 1 meta mark set {DIVERTED} accept\n"
        f"meta l4proto {{ icmp, ipv6-icmp }} meta mark set {DIVERTED} accept\n"
        "drop\n"
        "}\n}\n"
    )


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip6"


def _key(version: int, way: str) -> str:
    ip = _ip(version)
    source, destination = f"{ip} saddr . tcp sport", f"{ip} daddr . tcp dport"
    return f"{source} . {destination}" if way == "out" else f"{destination} . {source}"


def _matches(lift: Lift, way: str) -> str:
    ip = _ip(lift.version)
    local, remote = ("s", "d") if way == "out" else ("d", "s")
    # With extension headers in front of TCP the SYN would not be recognised on the other side.
    words = ["ip protocol tcp" if lift.version == 4 else "ip6 nexthdr tcp"]
    words.append(f"{ip} {local}addr @own{lift.version}")
    for prefix, end in ((lift.local, local), (lift.remote, remote)):
        if prefix is not None:
            words.append(f"{ip} {end}addr {ipaddress.ip_network(prefix, strict=False)}")
    for ports, end in ((lift.local_ports, local), (lift.remote_ports, remote)):
        if ports is not None:
            words.append(f"tcp {end}port {_range(ports)}")
    return " ".join(words)


def _range(ports: Ports) -> str:
    first, last = ports
    return f"{first}-{last}" if first != last else str(first)
