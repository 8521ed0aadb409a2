cimport cython
from emulator.callout cimport RegisteredCallout
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
    @cython.locals(result=int, decision=int)
    cpdef bint classify(self, Deciding seen) except -1
    @cython.locals(result=int)
    cdef bint _classify_sole(self, object item, Deciding seen) except -1
    @cython.locals(callout=RegisteredCallout, rights=cython.longlong, flags=cython.longlong, entry=int, kind=int)
    cdef int _ask(self, object item, Deciding seen, int decision) except -1
    @cython.locals(kind=int)
    cdef int _result(self, object item, Deciding seen, int decision, int entry, long long rights, long long flags) except -1
    cdef object _check_flags(self, object item, Deciding seen, long long flags)
