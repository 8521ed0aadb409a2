cimport cython
from emulator cimport spans
from emulator.flowtracking cimport wire_key
from emulator.octets cimport IpView, view_of
from emulator.origin cimport Origin
from emulator.paths.queued cimport QueuedPacket


cdef class Held(Origin):
    cdef public object path
    cdef public QueuedPacket packet
    cdef public int version
    cdef public object info
    cdef public bint settled
    cdef public bint blocked
    cdef public bint absorbed
    cdef public object flow
    cdef public object endpoint
    cdef public bint authorisation_due
    cdef public bint passes_through
    cdef public IpView known_view
    cdef public bytes known_header
    cdef public tuple known_key
    cpdef IpView seen(self)
    cpdef bytes keep_header(self)
    cpdef object changed_octets(self)
    cpdef bytes first_octets(self)
    @cython.locals(header=bytes, key=tuple)
    cpdef tuple key(self)
    @cython.locals(size=Py_ssize_t)
    cpdef bint has_first_header(self) except -1
    cpdef bytes first_destination(self)

@cython.locals(held=Held)
cpdef Held hold(object path, QueuedPacket packet, int version)
