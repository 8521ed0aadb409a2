cimport cython
from emulator.paths.queued cimport QueuedPacket

cdef class PacketReader:
    cdef dict __dict__
    cdef public object _numbers
    cdef public object _tally
    cdef public dict _layouts
    cdef public tuple _last
    @cython.locals(packets=list, at=Py_ssize_t, octets=Py_ssize_t, rest_at=Py_ssize_t, fields=tuple, packet=QueuedPacket, fixed=tuple)
    cpdef list read(self, bytearray buffer, object offsets, object lengths)
