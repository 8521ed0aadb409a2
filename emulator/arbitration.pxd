cimport cython
from emulator.deciding cimport Deciding

cdef class Arbiter:
    cdef dict __dict__
    cdef public object core
    cdef public object flows
    cdef public dict at_layer
    cdef public dict sole
    cdef public object on_indicate
    cdef public object on_classify
    cdef public object on_decided
    cpdef bint classify(self, Deciding seen) except -1
    cdef bint _classify_sole(self, object item, Deciding seen) except -1
    cdef object _ask(self, object item, Deciding seen, object decision)
    cdef object _result(self, object item, Deciding seen, object decision, object entry, int rights, int flags)
    cdef object _check_flags(self, object item, Deciding seen, int flags)
