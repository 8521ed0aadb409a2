cimport cython
from emulator.paths.queued cimport QueuedPacket

cdef class QueueVerdicts:
    cdef public Py_ssize_t received
    cdef public Py_ssize_t settled
    cdef public Py_ssize_t sent
    cdef public object due
    cdef public object run
    cdef public list parts
    cdef public Py_ssize_t octets
    cdef public bytes up_to
    cdef public list plain
    cdef public list marked
    cdef public list rewrite

cdef class VerdictBuffer:
    cdef public object _tally
    cdef public dict _verdicts
    @cython.locals(queue=QueueVerdicts, octets=Py_ssize_t, parts=list)
    cpdef settle(self, QueuedPacket packet, object verdict=*, object payload=*, object mark=*)
