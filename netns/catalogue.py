"""The table of what is probed: name, who needs it, what is done without it, and how it is tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netns import probes, streamprobes
from netns.probes import Bench
from netns.rules import Backend

EVERY_PATH = ("network", "transport", "forward", "stream", "lab")
QUEUED = ("network", "transport", "forward", "stream")
STREAM = ("stream",)
SKIPPED = "scenarios and tests that use it are skipped by name"
OTHER_BACKEND = "another way to set the same rules"
NFQUEUE, TPROXY = "NFQUEUE IPv{}", "TPROXY IPv{}"


@dataclass(frozen=True, slots=True)
class Probe:
    """How one kernel feature is tried; `run` raises LabError or OSError where it is missing."""

    name: str
    needed_by: tuple[str, ...]
    fallback: str | None
    run: Callable[[Bench], str]


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is looked for on PATH and in the sbin directories."""

    name: str
    needed_by: tuple[str, ...]
    fallback: str | None


PROGRAMS = (
    Program("setpriv", ("lab",), None),
    Program("nft", STREAM, None),
    Program("iptables-restore", QUEUED, "nft queue, where the kernel has it"),
    Program("ip6tables-restore", QUEUED, "nft queue, where the kernel has it"),
    Program("ip", ("lab",), "no shell inside a host; the lab itself speaks netlink"),
    Program("tc", ("lab",), "none needed: traffic control is set by netlink"),
    Program("ping", ("lab",), SKIPPED),
    Program("curl", ("lab",), SKIPPED),
    Program("nginx", ("lab",), SKIPPED),
    Program("iperf3", ("lab",), SKIPPED),
    Program("dig", ("lab",), SKIPPED),
    Program("dnsmasq", ("lab",), SKIPPED),
    Program("openssl", ("lab",), SKIPPED),
)

_LIFT = (
    "table netdev probe { set s { typeof ip saddr . tcp sport; flags dynamic; size 16\n}\n"
    'chain o { type filter hook egress device "lo" priority 0\n'
    'add @s { ip saddr . tcp sport } meta mark set 1 fwd to "lo"\n}\n'
    'chain i { type filter hook ingress device "lo" priority 0\nmeta pkttype set host dup to "lo"\n}\n}\n'
)
_SOCKET_MATCH = (
    "table {} probe {{ chain c {{ type filter hook prerouting priority -150; "
    "socket transparent 1 meta mark set 1 accept\n}}\n}}\n"
)
_NAMES = {Backend.NFT: "nft", Backend.NFT_XTABLES: "nft and xtables", Backend.IPTABLES: "iptables"}

KERNEL = (
    Probe("flock leases", ("lab",), None, probes.leases),
    Probe("bridge", ("lab",), None, probes.bridge),
    Probe("packet sockets (AF_PACKET)", ("lab", "network"), None, probes.packet_socket),
    Probe(
        "tc clsact with mirred ingress redirect",
        ("network", "transport"),
        "receive injection from the far end of the link",
        probes.ingress_redirect,
    ),
    *(
        Probe(f"raw IPv{version} with own header and mark", ("network",), None, probes.raw_marked(version))
        for version in (4, 6)
    ),
    *(
        Probe(
            f"{NFQUEUE.format(version)} by {_NAMES[backend]}",
            QUEUED,
            OTHER_BACKEND,
            probes.queue_traffic(version, backend),
        )
        for backend in Backend
        for version in (4, 6)
    ),
    Probe(
        "IPv6 reassembly ahead of INPUT",
        ("transport",),
        "inbound transport layers see IPv6 fragments one by one",
        probes.reassembly,
    ),
    Probe("NFQUEUE exempting a masked mark", QUEUED, None, probes.queue_mark_exemption),
    Probe("NFQUEUE flag fail-open", ("lab",), "fail-closed only", probes.queue_flag("fail-open")),
    Probe("NFQUEUE flag gso", ("transport",), "the kernel segments before queueing", probes.queue_flag("gso")),
    Probe("NFQUEUE flag conntrack", ("lab",), "no connection data with packets", probes.queue_flag("conntrack")),
    Probe("NFQUEUE flag uid-gid", ("lab",), "no owner with packets", probes.queue_flag("uid-gid")),
    Probe("ip rule on a mark, to a local route", STREAM, None, streamprobes.marked_route),
    *(
        Probe(f"transparent bind IPv{version}", STREAM, None, streamprobes.transparent_bind(version))
        for version in (4, 6)
    ),
    *(
        Probe(
            f"{TPROXY.format(version)} by {_NAMES[backend]}",
            STREAM,
            OTHER_BACKEND,
            streamprobes.tproxy(version, backend),
        )
        for backend in (Backend.NFT, Backend.IPTABLES)
        for version in (4, 6)
    ),
    *(
        Probe(f"nft socket transparent, {family}", STREAM, None, streamprobes.nft_text(_SOCKET_MATCH.format(family)))
        for family in ("ip", "ip6")
    ),
    Probe("nft netdev, lift frames", STREAM, None, streamprobes.nft_text(_LIFT)),
    Probe("splice", STREAM, "a copy loop", streamprobes.splice),
    Probe("sock_diag look-up", ("transport",), None, streamprobes.sock_diag),
    Probe("SOCK_DESTROY", STREAM, "connections end by a plain close", streamprobes.sock_destroy),
    Probe("netem", ("lab",), SKIPPED, streamprobes.netem),
)

EITHER = {kind.format(version): path for kind, path in ((NFQUEUE, QUEUED), (TPROXY, STREAM)) for version in (4, 6)}
"""What is there if it is by either program: a name that begins those of the single ones, and who needs it."""
