cimport cython
from emulator.paths cimport netlink_heads
from emulator.paths.queued cimport QueuedPacket

cdef Py_ssize_t _FLUSH_AT, COPY_MOST_OCTETS, _ACCEPT
cdef tuple PADDING

cdef class QueueVerdicts:
    cdef public Py_ssize_t received
    cdef public Py_ssize_t settled
    cdef public Py_ssize_t sent
    cdef public object due
    cdef public object run
    cdef public list parts
    cdef public Py_ssize_t octets
    cdef public bytes up_to
    cdef public list starts

cdef class VerdictBuffer:
    cdef public object _tally
    cdef public dict _verdicts
    cpdef settle(self, QueuedPacket packet, object verdict=*, object payload=*, object mark=*)
    @cython.locals(queue=QueueVerdicts, octets=Py_ssize_t, parts=list)
    cdef decide(self, QueuedPacket packet, Py_ssize_t verdict, object payload, bint marked, unsigned int mark)

@cython.locals(buffer=VerdictBuffer)
cpdef settle(object queue, QueuedPacket packet, Py_ssize_t verdict, object payload, bint marked, unsigned int mark)
