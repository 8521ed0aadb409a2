cdef class LoopGuard:
    cdef public int limit
    cdef public dict _chains
    cdef public dict _blocked
