cimport cython
from emulator cimport spans
from emulator.flows cimport Flow
from emulator.octets cimport IpView

cdef int TCP, UDP

cdef class Conversation:
    cdef object __weakref__
    cdef public Flow flow
    cdef public int state
    cdef public int fins
    cdef public bint last_fin
    cdef public tuple keys

cdef class FlowTracker:
    cdef public object table
    cdef public double now
    cdef public dict _inbound
    cdef public dict _outbound
    cdef public dict _connections
    cdef public object _others
    cpdef tuple look(self, IpView view, bytes header, bint inbound)
    @cython.locals(found=Conversation, flow=Flow)
    cpdef tuple find(self, tuple key, IpView view, bytes header, bint inbound)

@cython.locals(protocol=int)
cpdef tuple wire_key(IpView view, bytes header)
