cdef class Deciding:
    cdef public object core
    cdef public int layer
    cdef public bint inbound
    cdef public object interface
    cdef public object flow
    cdef public object filter
    cdef public object flow_context
    cdef public object action
    cdef public int rights
    cdef public int out_flags
    cdef public object blocked_by
    cdef public bint ended
