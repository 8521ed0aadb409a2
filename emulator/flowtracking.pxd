cimport cython
from emulator.octets cimport IpView

cdef class Conversation:
    cdef object __weakref__
    cdef public object flow
    cdef public int state
    cdef public int fins
    cdef public bint last_fin
    cdef public tuple keys

cdef class FlowTracker:
    cdef dict __dict__
    cdef public object table
    cdef public double now
    cdef public dict _inbound
    cdef public dict _outbound
    cdef public dict _connections
    cdef public object _others
    @cython.locals(found=Conversation, key=tuple)
    cpdef tuple look(self, IpView view, bytes header, bint inbound)

@cython.locals(protocol=int)
cpdef tuple wire_key(IpView view, bytes header)
