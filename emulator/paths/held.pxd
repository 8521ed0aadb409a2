cimport cython
from emulator.octets cimport IpView
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
    cpdef IpView seen(self)
    cpdef bytes keep_header(self)
    cpdef object changed_octets(self)
    cpdef bytes first_octets(self)
    cpdef bint has_first_header(self) except -1
    cpdef bytes first_destination(self)

@cython.locals(held=Held)
cpdef Held hold(object path, QueuedPacket packet, int version)
