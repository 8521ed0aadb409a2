"""Probes of what the stream path and the endpoint look-up need; in the manner of `netns.probes`."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack

from netns.namespace import Namespace
from netns.probes import CANARY, FAMILY, TIMEOUT_SECONDS, Bench, change_mangle
from netns.rules import Backend

ELSEWHERE = {4: "198.51.100.9", 6: "2001:db8:5::9"}
LOOPBACK = "127.0.0.1"
ANY = {4: "0.0.0.0", 6: "::"}
TRANSPARENT = {4: (socket.IPPROTO_IP, 19), 6: (socket.IPPROTO_IPV6, 75)}
DIVERTED = 1
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 4, 20, 21
NLMSG_ERROR = 2


def marked_route(bench: Bench) -> str:
    bench.far.divert_marked(DIVERTED)
    return ""


def transparent_bind(version: int) -> Callable[[Bench], str]:
    """A socket takes an address that is not the machine's."""

    def probe(bench: Bench) -> str:
        with bench.near.open_in(lambda: socket.socket(FAMILY[version])) as sock:
            sock.setsockopt(*TRANSPARENT[version], 1)
            sock.bind((ELSEWHERE[version], 0))
        return ""

    return probe


def tproxy(version: int, backend: Backend) -> Callable[[Bench], str]:
    """A connection to another address ends at our socket and keeps that address. Needs `marked_route` before."""

    def probe(bench: Bench) -> str:
        port, listening = bench.port(), bench.port()
        with ExitStack() as stack:
            listener = stack.enter_context(bench.far.open_in(lambda: socket.socket(FAMILY[version])))
            listener.settimeout(TIMEOUT_SECONDS)
            listener.setsockopt(*TRANSPARENT[version], 1)
            listener.bind((ANY[version], listening))
            listener.listen()
            stack.callback(_tproxy_rules(bench.far, version, backend, port, listening))
            client = stack.enter_context(bench.near.open_in(lambda: socket.socket(FAMILY[version])))
            client.settimeout(TIMEOUT_SECONDS)
            client.connect((ELSEWHERE[version], port))
            accepted = stack.enter_context(listener.accept()[0])
            if accepted.getsockname()[:2] != (ELSEWHERE[version], port):
                raise OSError(0, f"the original destination became {accepted.getsockname()}")
        return ""

    return probe


def nft_text(text: str) -> Callable[[Bench], str]:
    """nft and the kernel accept a table called `probe`."""

    def probe(bench: Bench) -> str:
        bench.far.run(["nft", "-f", "-"], input=text)
        words = text.split()
        bench.far.run(["nft", "delete", "table", words[1], "probe"])
        return ""

    return probe


def sock_diag(bench: Bench) -> str:
    with _listener(bench.near) as listener:
        port = listener.getsockname()[1]
        answer = _ask_diag(bench.near, SOCK_DIAG_BY_FAMILY, LOOPBACK, port)
        if struct.unpack_from("!H", answer, 16 + 4)[0] != port:
            raise OSError(0, "another socket than the one asked for")
    return ""


def sock_destroy(bench: Bench) -> str:
    with _listener(bench.near) as listener:
        _ask_diag(bench.near, SOCK_DESTROY, LOOPBACK, listener.getsockname()[1])
    return ""


def netem(bench: Bench) -> str:
    index = bench.near.index_of("lo")
    bench.near.netlink(lambda ipr: ipr.tc("add", "netem", index, 0x10000, delay=1000))
    bench.near.netlink(lambda ipr: ipr.tc("del", "netem", index, 0x10000))
    return ""


def splice(_: Bench) -> str:
    with ExitStack() as stack:
        ends = [stack.enter_context(end) for end in socket.socketpair()]
        pipe = os.pipe()
        for descriptor in pipe:
            stack.callback(os.close, descriptor)
        ends[0].send(CANARY)
        if os.splice(ends[1].fileno(), pipe[1], len(CANARY)) != len(CANARY):
            raise OSError(0, "fewer octets than were sent")
    return ""


def _tproxy_rules(
    namespace: Namespace, version: int, backend: Backend, port: int, listening: int
) -> Callable[[], None]:
    if backend is Backend.IPTABLES:
        rule = f"PREROUTING -p tcp --dport {port} -j TPROXY --on-port {listening} --tproxy-mark {DIVERTED}"
        change_mangle(namespace, version, f"-A {rule}")
        return lambda: change_mangle(namespace, version, f"-D {rule}")
    family = "ip" if version == 4 else "ip6"
    text = (
        f"table {family} probe {{ chain c {{ type filter hook prerouting priority -150; "
        f"tcp dport {port} tproxy to :{listening} meta mark set {DIVERTED} accept\n}}\n}}\n"
    )
    namespace.run(["nft", "-f", "-"], input=text)

    def remove() -> None:
        namespace.run(["nft", "delete", "table", family, "probe"])

    return remove


def _listener(namespace: Namespace) -> socket.socket:
    return namespace.open_in(lambda: socket.create_server((LOOPBACK, 0)))


def _ask_diag(namespace: Namespace, request: int, address: str, port: int) -> bytes:
    """Send one sock_diag request about a TCP listener; return the answer, or raise the OSError it holds."""
    with namespace.open_in(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)) as sock:
        sock.settimeout(TIMEOUT_SECONDS)
        endpoints = struct.pack("!HH", port, 0) + socket.inet_aton(address).ljust(16, b"\0") + bytes(16)
        identity = endpoints + bytes(4) + b"\xff" * 8  # any device, and any cookie
        body = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + identity
        sock.send(struct.pack("=IHHII", 16 + len(body), request, 5, 1, 0) + body)
        answer = sock.recv(4096)
    kind = struct.unpack_from("=H", answer, 4)[0]
    code = -struct.unpack_from("=i", answer, 16)[0] if kind == NLMSG_ERROR else 0
    if code:
        raise OSError(code, os.strerror(code))
    return answer
