"""Device offloads by the ethtool ioctl: what a veth leaves for a network card that does not exist."""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from typing import TYPE_CHECKING

from netns.errors import refused

if TYPE_CHECKING:
    from netns.namespace import Namespace

SIOCETHTOOL = 0x8946
IFNAMSIZ = 16

# Source: linux/ethtool.h. In this order off (each needs the one before it), in reverse order on.
ETHTOOL_SGSO, ETHTOOL_STSO, ETHTOOL_SSG, ETHTOOL_STXCSUM = 0x24, 0x1F, 0x19, 0x17
OFFLOADS = (ETHTOOL_SGSO, ETHTOOL_STSO, ETHTOOL_SSG, ETHTOOL_STXCSUM)
ETHTOOL_GTXCSUM = 0x16


def switch(namespace: Namespace, device: str, *, on: bool) -> None:
    """Switch the offloads of one device on or off; what the device does not have is left alone.

    Raises KernelRefused, NotPermitted, Closed.
    """
    order = OFFLOADS[::-1] if on else OFFLOADS

    def ask() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for command in order:
                try:
                    _ethtool(control, device, command, int(on))
                except OSError as error:
                    if error.errno != errno.EOPNOTSUPP:
                        raise

    try:
        namespace.open_in(ask)
    except OSError as error:
        raise refused(f"switching offloads of {device} in {namespace.name}", error) from error


def transmit_checksum(namespace: Namespace, device: str) -> bool:
    """Whether transmit checksums are left to the device (a veth leaves them unfilled).

    Raises KernelRefused, Closed.
    """

    def ask() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            return bool(_ethtool(control, device, ETHTOOL_GTXCSUM, 0))

    try:
        return namespace.open_in(ask)
    except OSError as error:
        raise refused(f"reading offloads of {device} in {namespace.name}", error) from error


def _ethtool(control: socket.socket, device: str, command: int, value: int) -> int:
    # struct ethtool_value { cmd, data }, and a struct ifreq whose union points at it.
    exchange = array.array("I", [command, value])
    address, _ = exchange.buffer_info()
    request = struct.pack(f"={IFNAMSIZ}sQ16x", device.encode(), address)
    fcntl.ioctl(control, SIOCETHTOOL, request)
    return exchange[1]
