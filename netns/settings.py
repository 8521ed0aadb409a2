"""Settings of the calling thread's network namespace: sysctl files and device ioctls, no netlink."""

from __future__ import annotations

import fcntl
import re
import socket
import struct
from contextlib import suppress

from netns.errors import BadName

KEY = re.compile(r"net[./][A-Za-z0-9_.:/@-]+")
IFNAMSIZ = 16
IFF_UP = 1
SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8913, 0x8914
SIOCGIFHWADDR = 0x8927

QUIET = {
    # An address is usable at once: nobody else can have it, so looking for duplicates only costs a second.
    "net.ipv6.conf.all.accept_dad": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.router_solicitations": "0",
    # A new namespace inherits the following from the machine, and a lab must not depend on the machine.
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}


def path_of(key: str) -> str:
    """The file of a net.* key; raises BadName for any other key."""
    if not KEY.fullmatch(key) or ".." in key:
        raise BadName("sysctl", key, "only net.* keys belong to a network namespace")
    return "/proc/sys/" + (key if "/" in key else key.replace(".", "/"))


def exchange(path: str, value: str | int | None) -> str:
    """Write `value`, if given, and return what the file then says. Raises OSError."""
    if value is not None:
        with open(path, "w", encoding="ascii") as file:
            file.write(str(value))
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def make_quiet(*, forwarding: bool) -> None:
    """Give a new namespace the same start on every machine. Raises OSError."""
    # First, since a change of forwarding resets other IPv4 keys.
    routing = "1" if forwarding else "0"
    first = {"net.ipv4.ip_forward": routing, "net.ipv6.conf.all.forwarding": routing}
    for key, value in (first | QUIET).items():
        with suppress(FileNotFoundError):  # a kernel without IPv6
            exchange(path_of(key), value)


def raise_interface(name: str) -> None:
    """Set a device up. Raises OSError."""
    request = name.encode().ljust(IFNAMSIZ, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, SIOCGIFFLAGS, request + bytes(24))
        flags = struct.unpack_from("=H", answer, IFNAMSIZ)[0]
        fcntl.ioctl(control, SIOCSIFFLAGS, request + struct.pack("=H22x", flags | IFF_UP))


def hardware_address(name: str) -> str:
    """The hardware address of a device, as aa:bb:cc:dd:ee:ff. Raises OSError."""
    request = name.encode().ljust(IFNAMSIZ, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, SIOCGIFHWADDR, request + bytes(24))
    return answer[IFNAMSIZ + 2 : IFNAMSIZ + 8].hex(":")
