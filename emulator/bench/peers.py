"""The peers that are Python: each handles the packets of a router in a process of its own.

    python -m emulator.bench.peers NAME QUEUE COUNT

Speaks like `nfq_verdict`: prints "ready", reads a line, handles COUNT packets or until none comes for half a
second, and prints "handled wall_seconds user_seconds system_seconds".
"""

from __future__ import annotations

import resource
import select
import sys
import time
from collections.abc import Callable
from typing import Any, Final

IDLE_SECONDS: Final = 0.5
READY_SECONDS: Final = 20.0
PORT: Final = 9


class Watch:
    """Counts packets and notes the time and the processor time at the first and the last one."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.count = count
        self.first: tuple[float, float, float] | None = None
        self.last = (0.0, 0.0, 0.0)

    def begin(self) -> None:
        """The first packet is there."""
        self.first = self.last = _now()

    def line(self) -> str:
        """What is printed."""
        first = self.first or self.last
        spent = " ".join(f"{after - before:.6f}" for before, after in zip(first, self.last, strict=True))
        return f"{self.count - self.left} {spent}\n"


def _now() -> tuple[float, float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), usage.ru_utime, usage.ru_stime


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def by_netfilterqueue(number: int, watch: Watch, handle: Callable[[Any], None]) -> None:
    """A queue by the binding, with a handler for each packet."""
    import netfilterqueue

    def handler(packet: Any) -> None:
        watch.left -= 1
        handle(packet)

    queue = netfilterqueue.NetfilterQueue()
    queue.bind(number, handler, max_len=65536, sock_len=64 << 20)
    _say_ready()
    descriptor = queue.get_fd()
    if select.select([descriptor], [], [], READY_SECONDS)[0]:
        watch.begin()
        while watch.left > 0 and select.select([descriptor], [], [], IDLE_SECONDS)[0]:
            queue.run(block=False)
            watch.last = _now()
    queue.unbind()


def accept(packet: Any) -> None:
    """Nothing."""
    packet.accept()


def rebuild(packet: Any) -> None:
    """Parse by scapy, change an octet, let it compute sums and lengths, and put it back."""
    from scapy.layers.inet import IP, UDP

    parsed = IP(packet.get_payload())
    load = bytes(parsed[UDP].payload)
    parsed[UDP].remove_payload()
    parsed[UDP].add_payload(load[:-1] + b"y")
    del parsed.chksum, parsed.len, parsed[UDP].chksum, parsed[UDP].len
    packet.set_payload(bytes(parsed))
    packet.accept()


def by_pydivert(number: int, watch: Watch) -> None:
    """Every forwarded packet is received and sent on."""
    from pydivert import Divert, Layer

    with Divert(f"udp.DstPort == {PORT}", layer=Layer.NETWORK_FORWARD) as divert:
        _say_ready()
        wait = READY_SECONDS
        while watch.left > 0:
            try:
                packet = divert.recv(timeout=wait)
            except (TimeoutError, OSError):
                break
            if watch.first is None:
                watch.begin()
                wait = IDLE_SECONDS
            divert.send(packet)
            watch.left -= 1
            if not watch.left % 64:
                watch.last = _now()


def by_scapy_socket(watch: Watch) -> None:
    """Equal datagrams to the router, by a socket that scapy opened once."""
    from scapy.config import conf
    from scapy.layers.inet import IP, UDP
    from scapy.packet import Raw

    packet = IP(src="10.9.1.2", dst="10.9.1.1") / UDP(sport=4000, dport=PORT) / Raw(b"w" * 64)
    with conf.L3socket() as socket:
        socket.send(packet)  # the first one finds routes and neighbours
        _say_ready()
        watch.begin()
        while watch.left > 0:
            socket.send(packet)
            watch.left -= 1
        watch.last = _now()


def main() -> None:
    """Be the peer that the arguments name."""
    name, number, watch = sys.argv[1], int(sys.argv[2]), Watch(int(sys.argv[3]))
    if name == "scapy-send":
        by_scapy_socket(watch)
    elif name == "pydivert":
        by_pydivert(number, watch)
    else:
        by_netfilterqueue(number, watch, {"accept": accept, "scapy": rebuild}[name])
    sys.stdout.write(watch.line())


if __name__ == "__main__":
    main()
