from emulator.coreparts cimport CoreParts
from emulator.filterparts cimport FilterParts

cdef class Deciding:
    cdef public CoreParts core
    cdef public int layer
    cdef public bint inbound
    cdef public long long interface
    cdef public object flow
    cdef public FilterParts filter
    cdef public object flow_context
    cdef public long long action
    cdef public long long rights
    cdef public long long out_flags
    cdef public long long blocked_by
    cdef public bint ended
