cdef class Deciding:
    cdef public object core
    cdef public int layer
    cdef public bint inbound
    cdef public object interface
    cdef public object flow
    cdef public object filter
    cdef public object flow_context
    cdef public object action
    cdef public long long rights
    cdef public long long out_flags
    cdef public long long blocked_by
    cdef public bint ended
