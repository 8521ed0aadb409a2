from emulator.origin cimport Origin
from emulator.octets cimport IpView

cdef class Held(Origin):
    cdef public object path
    cdef public object packet
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
