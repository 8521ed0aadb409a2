"""What tests of deferring share: a callout that defers, and a stream that it has deferred."""

from __future__ import annotations

from emulator.indication import Indication
from emulator.splice import Side
from emulator.stream import IoPacket
from emulator.stream_bench import StreamBench


class Deferring:
    """Defers while told so, else permits; remembers what it was shown."""

    def __init__(self, *, defer: bool = True) -> None:
        self.defer = defer
        self.shown: list[bytes] = []

    def __call__(self, seen: Indication) -> None:
        packet: IoPacket = seen.stream
        self.shown.append(packet.stream_data.octets)
        if self.defer:
            packet.defer()
        else:
            seen.permit()


def deferred() -> tuple[StreamBench, Deferring, int]:
    bench = StreamBench()
    callout = Deferring()
    registered, _ = bench.add(callout)
    bench.send(Side.REMOTE, b"first", b"second")
    return bench, callout, registered.callout_id
