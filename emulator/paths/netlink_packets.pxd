cimport cython
from emulator.paths cimport netlink_heads
from emulator.paths.queued cimport Arrival, QueuedPacket

cdef class PacketReader:
    cdef dict __dict__
    cdef public object _numbers
    cdef public object _tally
    cdef public dict _layouts
    cdef public tuple _last
    @cython.locals(packets=list, at=Py_ssize_t, octets=Py_ssize_t, payload_at=Py_ssize_t, packet=QueuedPacket, arrival=Arrival, start=bytes, middle=bytes, end=bytes, marked=bint)
    cpdef list read(self, bytearray buffer, object offsets, object lengths)
