"""Many datagrams by one system call, which `socket` cannot: about a third of what reading a packet costs."""

from __future__ import annotations

import ctypes
import errno
import os
import socket

STRIDE_SLACK_OCTETS = 64
"""Keeps the slots from starting at the same place in every page, so that they share no cache lines' sets."""


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Slot(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("message", _Message), ("length", ctypes.c_uint))


class DatagramBurst:
    """Slots in one buffer into which the waiting datagrams of a socket are read together."""

    def __init__(self, slots: int, octets: int) -> None:
        """For datagrams of at most `octets`; longer ones are cut."""
        stride = octets + STRIDE_SLACK_OCTETS
        self.buffer = _untouched(slots * stride)
        """Slot n starts at `offsets[n]`; overwritten by the next `receive`."""
        self.offsets = tuple(n * stride for n in range(slots))
        self._slots = slots
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.buffer))
        self._vectors = (_Vector * slots)(*(_Vector(base + at, octets) for at in self.offsets))
        self._messages = (_Slot * slots)()
        first = ctypes.addressof(self._vectors)
        for n, slot in enumerate(self._messages):
            slot.message.vectors = first + n * ctypes.sizeof(_Vector)
            slot.message.vector_count = 1
        words = memoryview(self._messages).cast("B").cast("I")
        step = ctypes.sizeof(_Slot) // words.itemsize
        self._lengths = words[_Slot.length.offset // words.itemsize :: step]
        self._address = ctypes.addressof(self._messages)
        self._recvmmsg = ctypes.CDLL(None, use_errno=True).recvmmsg
        self._recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)

    def receive(self, fd: int) -> list[int]:
        """The lengths of the datagrams read, slot by slot; empty when none waits. Never blocks. Raises OSError."""
        count = self._recvmmsg(fd, self._address, self._slots, socket.MSG_DONTWAIT, None)
        if count > 0:
            return self._lengths[:count].tolist()
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EINTR):
            return []
        raise OSError(code, os.strerror(code))


def _untouched(octets: int) -> bytearray:
    """Memory that takes up room only where it is written: most datagrams are far shorter than their slots."""
    make = ctypes.pythonapi.PyByteArray_FromStringAndSize
    make.argtypes, make.restype = (ctypes.c_void_p, ctypes.c_ssize_t), ctypes.py_object
    made: bytearray = make(None, octets)
    return made
