from emulator.callout cimport RegisteredCallout

cdef class FilterParts:
    cdef public long long filter_id
    cdef public unsigned long long effective_weight
    cdef public RegisteredCallout callout
    cdef public bint clears_right
    cdef public long long kind
    cdef public tuple groups
