"""The few system calls that Python 3.11's `os` lacks: unshare, setns, mount, umount2, capset, one bind."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from functools import cache

CLONE_NEWNS = 0x20000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
MS_NOSUID, MS_NODEV = 2, 4
MNT_DETACH = 2
PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION = 0x20080522


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (ctypes.c_char_p,) * 3 + (ctypes.c_ulong, ctypes.c_char_p)
    libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
    libc.unshare.argtypes = (ctypes.c_int,)
    libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
    libc.prctl.argtypes = (ctypes.c_int,) + (ctypes.c_ulong,) * 4
    libc.capget.argtypes = libc.capset.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
    libc.bind.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return libc


def _checked(result: int, *names: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), *names)


def unshare(flags: int) -> None:
    """Give the calling thread new namespaces of these kinds. Raises OSError."""
    _checked(_libc().unshare(flags))


def unshare_network() -> None:
    """Give the calling thread a new network namespace. Raises OSError."""
    unshare(CLONE_NEWNET)


def enter_network(fd: int) -> None:
    """Move the calling thread, and only it, into the network namespace behind `fd`. Raises OSError."""
    _checked(_libc().setns(fd, CLONE_NEWNET))


def bind_mount(source: str, target: str, *, recursive: bool = False) -> None:
    """Make `source` appear at `target`, which exists. Raises OSError."""
    flags = MS_BIND | (MS_REC if recursive else 0)
    _checked(_libc().mount(os.fsencode(source), os.fsencode(target), b"none", flags, None), target)


def share_mount(target: str) -> None:
    """Let mounts below `target` propagate to other mount namespaces. Raises OSError (EINVAL: no mount)."""
    _checked(_libc().mount(b"", os.fsencode(target), b"none", MS_SHARED | MS_REC, None), target)


def keep_mounts_private() -> None:
    """Let no mount of this mount namespace be seen in another, nor the other way. Raises OSError."""
    _checked(_libc().mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "/")


def mount_memory(target: str, options: str) -> None:
    """Put an empty file system in memory over `target`, which exists. Raises OSError."""
    flags = MS_NOSUID | MS_NODEV
    _checked(_libc().mount(b"none", os.fsencode(target), b"tmpfs", flags, os.fsencode(options)), target)


def unmount(target: str) -> None:
    """Take one mount off `target` even while it is in use. Raises OSError (EINVAL: no mount)."""
    _checked(_libc().umount2(os.fsencode(target), MNT_DETACH), target)


def bind_packet_everywhere(fd: int, protocol: int) -> None:
    """Let a packet socket see `protocol` on all devices, which `socket.bind` cannot say. Raises OSError."""
    address = struct.pack("=H2sI", socket.AF_PACKET, protocol.to_bytes(2), 0).ljust(20, b"\0")
    _checked(_libc().bind(fd, address, len(address)))


def permitted_capabilities() -> int:
    """The permitted capabilities of the calling thread, as a mask. Raises OSError."""
    data = ctypes.create_string_buffer(24)
    _checked(_libc().capget(struct.pack("=Ii", _CAPABILITY_VERSION, 0), data))
    low, high = struct.unpack("=4xI8xI4x", data.raw)
    return int(low | high << 32)


def set_capabilities(mask: int) -> None:
    """Make these the permitted and effective ones of the calling thread; none are inherited. Raises OSError."""
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("=IIIIII", low, low, 0, high, high, 0)
    _checked(_libc().capset(struct.pack("=Ii", _CAPABILITY_VERSION, 0), data))


def drop_from_bounding_set(number: int) -> None:
    """Let no program that the calling thread starts get this capability. Raises OSError."""
    _checked(_libc().prctl(PR_CAPBSET_DROP, number, 0, 0, 0))
