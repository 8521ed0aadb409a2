"""What passes a device: frames read from a packet socket, with every loss counted.

There is no thread: frames wait in the socket's buffer until asked for, and if it overflows, that is an error.
"""

from __future__ import annotations

import select
import socket
import struct
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from netns import buffers, syscalls
from netns.errors import FramesLost, NotSeen, refused
from netns.namespace import Namespace
from netns.patience import patient

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP, PACKET_STATISTICS, PACKET_AUXDATA = 1, 6, 8
PACKET_MR_PROMISC = 1
SO_TIMESTAMPNS = 35
AUXDATA = struct.Struct("=IIIHHHH")
TIMESPEC = struct.Struct("=qq")
TP_STATUS_CSUMNOTREADY = 1 << 3
TP_STATUS_VLAN_VALID = 1 << 4
LARGEST_FRAME_OCTETS = 262144
"""More than the largest aggregate the kernel passes between veths."""
ANCILLARY_OCTETS = socket.CMSG_SPACE(AUXDATA.size) + socket.CMSG_SPACE(TIMESPEC.size)
BUFFER_OCTETS = 16 << 20


class Direction(IntEnum):
    """How a frame met the device, in the kernel's numbers."""

    TO_US = 0
    BROADCAST = 1
    MULTICAST = 2
    TO_OTHERS = 3
    OUTGOING = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it passed the device."""

    octets: bytes
    """From the Ethernet header on, without FCS; a VLAN tag the kernel had taken off is not in it."""
    time: float
    """When the kernel saw it, in seconds since the epoch."""
    direction: Direction
    interface: str
    """The device's name, or empty if it went since."""
    checksum_ready: bool
    """False while the transport checksum is left to a device to fill in."""
    vlan: int | None
    """The tag control information the kernel had taken off, if any."""

    @property
    def is_outgoing(self) -> bool:
        return self.direction is Direction.OUTGOING

    @property
    def protocol(self) -> int:
        """The EtherType, or for less than a header 0."""
        return int.from_bytes(self.octets[12:14]) if len(self.octets) >= 14 else 0

    @property
    def payload(self) -> bytes:
        """What follows the Ethernet header: for IP, the packet."""
        return self.octets[14:]


class Capture:
    """Sees every frame that passes one device (or all of a namespace), both ways, from its creation on."""

    def __init__(
        self,
        namespace: Namespace,
        interface: str | None = None,
        *,
        promiscuous: bool = False,
        buffer_octets: int = BUFFER_OCTETS,
    ) -> None:
        """Start to see; None means all devices. The buffer counts about 800 octets beside each frame's own.

        Raises KernelRefused (ENODEV), NotPermitted, Closed.
        """
        self.interface = interface
        self._namespace = namespace
        self._received = 0
        self._dropped = 0
        self._socket: socket.socket | None = None
        try:
            self._socket = namespace.open_in(lambda: _open(interface, buffer_octets, promiscuous=promiscuous))
        except OSError as error:
            raise refused(f"capturing on {interface or 'all devices'} in {namespace.name}", error) from error

    def fileno(self) -> int:
        """The packet socket, readable when a frame waits; it stays ours."""
        return self._open_socket().fileno()

    def drain(self, *, lossy: bool = False) -> list[Frame]:
        """Take all frames that wait now, in order. Unless `lossy`, raises FramesLost if any were dropped."""
        frames = []
        sock = self._open_socket()
        while (frame := _receive(sock)) is not None:
            frames.append(frame)
        if not lossy:
            self._refuse_loss()
        return frames

    def until(self, predicate: Callable[[Frame], bool], timeout: float = 5.0, *, lossy: bool = False) -> list[Frame]:
        """Take frames up to and including the first for which `predicate` holds; that one is the last.

        Raises NotSeen (with the frames that were) after `timeout` seconds, and unless `lossy` FramesLost.
        """
        sock = self._open_socket()
        timeout = patient(timeout)
        deadline = time.monotonic() + timeout
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        frames: list[Frame] = []
        while True:
            frame = _receive(sock)
            if frame is not None:
                frames.append(frame)
                if predicate(frame):
                    break
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                where = f"{self.interface or 'any device'} in {self._namespace.name}"
                raise NotSeen(where, timeout, [seen.octets for seen in frames])
            poller.poll(left * 1000)
        if not lossy:
            self._refuse_loss()
        return frames

    def statistics(self) -> tuple[int, int]:
        """(seen, lost): frames that met the socket, and those of them for which the buffer had no room."""
        # The kernel resets its counters with every reading.
        raw = self._open_socket().getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        received, dropped = struct.unpack("=II", raw)
        self._received += received
        self._dropped += dropped
        return self._received, self._dropped

    def close(self) -> None:
        """Stop; closing twice is allowed."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _refuse_loss(self) -> None:
        seen, lost = self.statistics()
        if lost:
            raise FramesLost(f"{self.interface or 'all devices'} in {self._namespace.name}", lost, seen)

    def _open_socket(self) -> socket.socket:
        if self._socket is None:
            raise ValueError("the capture is closed")
        return self._socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_socket", None) is not None:
            warnings.warn("a Capture was not closed", ResourceWarning, source=self, stacklevel=2)


def _open(interface: str | None, buffer_octets: int, *, promiscuous: bool) -> socket.socket:
    # Protocol 0 sees nothing: so no frame of another device comes in before bind.
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        sock.setblocking(False)
        buffers.widen(sock, receive_octets=buffer_octets // 2)  # the kernel doubles it
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        index = 0 if interface is None else socket.if_nametoindex(interface)
        if promiscuous and index:
            membership = struct.pack("=iHH8s", index, PACKET_MR_PROMISC, 0, b"")
            sock.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
        if interface is None:
            syscalls.bind_packet_everywhere(sock.fileno(), ETH_P_ALL)
        else:
            sock.bind((interface, ETH_P_ALL))
    except BaseException:
        sock.close()
        raise
    return sock


def _receive(sock: socket.socket) -> Frame | None:
    try:
        octets, ancillary, _, address = sock.recvmsg(LARGEST_FRAME_OCTETS, ANCILLARY_OCTETS)
    except BlockingIOError:
        return None
    seconds, status, tag = 0.0, 0, 0
    for level, kind, data in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, _, _, _, _, tag, _ = AUXDATA.unpack(data)
        elif level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            whole, nanoseconds = TIMESPEC.unpack(data)
            seconds = whole + nanoseconds / 1e9
    return Frame(
        octets=octets,
        time=seconds,
        direction=Direction(address[2]),
        interface=address[0],
        checksum_ready=not status & TP_STATUS_CSUMNOTREADY,
        vlan=tag if status & TP_STATUS_VLAN_VALID else None,
    )
