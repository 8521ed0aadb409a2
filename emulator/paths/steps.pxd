cdef class Step:
    cdef public int layer
    cdef public bint inbound
    cdef public object offsets
    cdef public bint whole
    cdef public bint transport
    cdef public type kind
    cdef public int due
    cdef public bint with_data

cdef class Plan:
    cdef public tuple steps
    cdef public bint finds
    cdef public bint tracks
