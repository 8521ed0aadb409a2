"""What our own queue backend costs in user code for each packet, step by step, without a kernel.

    python -m emulator.bench.queue_costs
"""

from __future__ import annotations

import struct
import sys
import timeit
from collections import Counter
from collections.abc import Callable

from emulator.paths.netlink_packets import PacketReader
from emulator.paths.netlink_verdicts import VerdictBuffer
from emulator.paths.queue import BURST, QueuedPacket, Verdict

SLOT = 65536 + 4096 + 64
REPEATS = 2000
DATA = bytes(92)
OFFSETS = [n * SLOT for n in range(BURST)]
VARIETIES: dict[str, Callable[[int], bytes]] = {
    "like the one before": lambda n: b"",
    "marked": lambda n: attribute(3, b"\x81\0\0" + bytes([n])),
    "marked in turns": lambda n: attribute(3, b"\x81\0\0\1") if n % 2 else b"",
    "stamped": lambda n: attribute(4, bytes(15) + bytes([n])),
    "new address each": lambda n: attribute(9, b"\0\6\0\0\2\0\0\0\0" + bytes([n, 0, 0])),
}


class Buffer(VerdictBuffer):
    """Sends nowhere."""

    def send(self, number: int, octets: bytes) -> None:
        """Let go of them."""


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(number: int, more: bytes) -> bytes:
    """A forwarded packet as the kernel tells of it."""
    body = attribute(1, struct.pack(">IHB", number, 0x0800, 2)) + attribute(5, b"\0\0\0\2") + attribute(6, b"\0\0\0\3")
    body += more + struct.pack("=HH", 4 + len(DATA), 10) + DATA
    return struct.pack("=IHHII", 20 + len(body), 0x300, 0, 0, 0) + struct.pack(">BBH", 2, 0, 7) + body


def nanoseconds(work: Callable[[], object]) -> float:
    """For each packet of a burst; the best of several."""
    return min(timeit.repeat(work, number=REPEATS, repeat=5)) / REPEATS / BURST * 1e9


def reading(more: Callable[[int], bytes]) -> Callable[[], list[QueuedPacket]]:
    """The work of reading a burst."""
    buffer = bytearray(SLOT * BURST)
    datagrams = [message(n, more(n)) for n in range(BURST)]
    for at, data in zip(OFFSETS, datagrams, strict=True):
        buffer[at : at + len(data)] = data
    lengths = [len(data) for data in datagrams]
    reader = PacketReader([7], Counter())
    return lambda: reader.read(buffer, OFFSETS, lengths)


def settling(settle: Callable[[VerdictBuffer, list[QueuedPacket]], None]) -> Callable[[], None]:
    """The work of settling and sending off a burst."""
    packets = reading(lambda n: b"")()
    tokens = [packet.token for packet in packets]
    buffer = Buffer([7], Counter())

    def work() -> None:
        for packet, token in zip(packets, tokens, strict=True):
            packet.token = token
        buffer._verdicts[7].admit(packets, ranges=True)
        settle(buffer, packets)
        buffer.flush()

    return work


def accept(buffer: VerdictBuffer, packets: list[QueuedPacket]) -> None:
    """All, in order."""
    settle = buffer.settle
    for packet in packets:
        settle(packet)


def accept_backwards(buffer: VerdictBuffer, packets: list[QueuedPacket]) -> None:
    """So that each needs its own message."""
    settle = buffer.settle
    for packet in reversed(packets):
        settle(packet)


def mark(buffer: VerdictBuffer, packets: list[QueuedPacket]) -> None:
    """All, marked."""
    settle, verdict = buffer.settle, Verdict.ACCEPT
    for packet in packets:
        settle(packet, verdict, None, 5)


def rewrite(buffer: VerdictBuffer, packets: list[QueuedPacket]) -> None:
    """All, with payload and mark."""
    settle, verdict = buffer.settle, Verdict.ACCEPT
    for packet in packets:
        settle(packet, verdict, packet.payload, 5)


SETTLING = (accept, accept_backwards, mark, rewrite)


def main() -> None:
    """Measure and print."""
    lines = [f"{nanoseconds(reading(more)):7.0f} ns  read, {name}" for name, more in VARIETIES.items()]
    lines += [f"{nanoseconds(settling(work)):7.0f} ns  settle, {work.__name__}" for work in SETTLING]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
