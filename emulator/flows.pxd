cdef class Flow:
    cdef object __weakref__
    cdef public object number
    cdef public object key
    cdef public bint outbound
    cdef public dict contexts
    cdef public double last_seen
    cdef public bint ended
    cdef public bint kept
    cdef public bint stale
    cdef public object classifying
    cdef public object endpoint
