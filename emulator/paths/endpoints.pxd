cimport cython
from emulator.flowtracking cimport wire_key
from emulator.octets cimport IpView

cdef class Endpoint:
    cdef object __weakref__
    cdef public object key
    cdef public object protocol
    cdef public bytes local
    cdef public object local_port
    cdef public bytes remote
    cdef public object remote_port
    cdef public object interface
    cdef public object bound_class
    cdef public bint is_raw
    cdef public bint header_included
    cdef public bytes header
    cdef public long long round
    cdef public bint closed
    cdef public object ends

cdef class Endpoints:
    cdef dict __dict__
    cdef object __weakref__
    cdef public object _namespace
    cdef public object _refused
    cdef public object _lookup
    cdef public dict _found
    cdef public dict _cache
    cdef public dict _raw
    cdef public long long _round
    cdef public object own_inodes
    cpdef of_packet(self, IpView view, bytes header, bint inbound, object interface)
    cpdef find(self, tuple key, IpView view, bint inbound, object interface)
    cpdef bint alive(self, Endpoint endpoint) except -1
