cimport cython
from emulator.callout cimport RegisteredCallout
from emulator.coreparts cimport CoreParts
from emulator.deciding cimport Deciding
from emulator.filterparts cimport FilterParts

cdef long long BLOCK, PERMIT, NONE, ABSORB, _INSPECTION, _TERMINATING
cdef tuple _ABSORB_ALLOWED

cdef class Arbiter:
    cdef public CoreParts core
    cdef public object flows
    cdef public dict at_layer
    cdef public dict sole
    cdef public object on_indicate
    cdef public object on_classify
    cdef public object on_decided
    cpdef bint classify(self, Deciding seen) except -1
    @cython.locals(result=cython.longlong, decision=cython.longlong, item=FilterParts, sole=FilterParts)
    cdef bint judge(self, Deciding seen) except -1
    @cython.locals(result=cython.longlong)
    cdef bint _classify_sole(self, FilterParts item, Deciding seen) except -1
    @cython.locals(callout=RegisteredCallout, rights=cython.longlong, flags=cython.longlong, entry=cython.longlong, kind=cython.longlong, action=cython.longlong)
    cdef long long _ask(self, FilterParts item, Deciding seen, long long decision) except -1
    @cython.locals(kind=cython.longlong, action=cython.longlong)
    cdef long long _result(self, FilterParts item, Deciding seen, long long decision, long long entry, long long rights, long long flags) except -1
    cdef object _check_flags(self, FilterParts item, Deciding seen, long long flags)
