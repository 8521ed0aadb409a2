"""Socket buffers as large as they should be, or as large as the kernel lets this user have them."""

from __future__ import annotations

import errno
import socket
from typing import Final

SO_SNDBUFFORCE: Final = 32
SO_RCVBUFFORCE: Final = 33


def widen(sock: socket.socket, *, receive_octets: int = 0, send_octets: int = 0) -> None:
    """Ask for so many octets of buffer; 0 leaves a buffer alone.

    Without the machine's CAP_NET_ADMIN, as in a user namespace, `net.core.rmem_max` and `wmem_max` are the
    most there is; `getsockopt` tells. Raises OSError.
    """
    for octets, force, plain in (
        (receive_octets, SO_RCVBUFFORCE, socket.SO_RCVBUF),
        (send_octets, SO_SNDBUFFORCE, socket.SO_SNDBUF),
    ):
        if octets:
            try:
                sock.setsockopt(socket.SOL_SOCKET, force, octets)
            except OSError as error:
                if error.errno != errno.EPERM:
                    raise
                sock.setsockopt(socket.SOL_SOCKET, plain, octets)


def most(receive_octets: int) -> int:
    """How many of so many octets a receive buffer of ours may have."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as tried:
        widen(tried, receive_octets=receive_octets)
        return min(receive_octets, tried.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2)
