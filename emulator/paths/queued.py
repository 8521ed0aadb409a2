"""A packet as a netfilter queue holds it, and the way by which packets came: what every packet is, and no more."""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

STAMP: Final = Struct(">QQ")


class Arrival:
    """Where packets were taken: one object for all packets that came the same way, so a key for what depends
    on that alone. Not to be changed."""

    __slots__ = (
        "queue", "hook", "protocol", "in_device", "out_device", "hardware_address", "checksum_pending",
        "checksum_unverified", "gso",
    )  # fmt: skip

    def __init__(
        self,
        queue: int,
        hook: int,
        protocol: int,
        *,
        in_device: int = 0,
        out_device: int = 0,
        hardware_address: bytes = b"",
        checksum_pending: bool = False,
        checksum_unverified: bool = False,
        gso: bool = False,
    ) -> None:
        self.queue = queue
        self.hook = hook
        """A HookNumber."""
        self.protocol = protocol
        """Ethertype: 0x0800 or 0x86DD."""
        self.in_device = in_device
        """Interface index of the queue's namespace; 0 where there is none."""
        self.out_device = out_device
        self.hardware_address = hardware_address
        """Of the sender, where the packet came over a link; else empty."""
        self.checksum_pending = checksum_pending
        """The transport checksum is still to be filled in: only with the GSO flag. A rewrite has to finish it."""
        self.checksum_unverified = checksum_unverified
        """The kernel has not checked the transport checksum; always False where a backend cannot tell."""
        self.gso = gso
        """Larger than a segment on the wire."""

    def __repr__(self) -> str:
        return f"<Arrival queue {self.queue} hook {self.hook} {self.in_device}->{self.out_device}>"


class QueuedPacket:
    """A packet held by the kernel until it is settled.

    `payload`, from the IP header on, belongs to the receiver, who may write it in place and hand it back.
    """

    __slots__ = ("token", "payload", "arrival", "mark")

    token: Any
    """The backend's hold on the packet; None once it is settled."""
    payload: bytearray
    arrival: Arrival
    mark: int

    original_octets: int = 0
    """The packet's length if `payload` shows only the first octets of it; 0 if it shows all."""
    stamp: bytes = b""
    """`seconds` as the kernel wrote it: two numbers of 8 octets, seconds and microseconds, network order."""

    @property
    def seconds(self) -> float:
        """When a device received it, since the epoch; 0 if nothing in the system asks for such times."""
        first, second = STAMP.unpack(self.stamp) if self.stamp else (0, 0)
        return float(first + second / 1e6)

    def __repr__(self) -> str:
        return f"<QueuedPacket of {len(self.payload)} octets, {self.arrival!r}>"


class RareQueuedPacket(QueuedPacket):
    """One that is cut or stamped; apart, so that ordinary packets need not carry the fields."""

    __slots__ = ("original_octets", "stamp")

    original_octets: int
    stamp: bytes
