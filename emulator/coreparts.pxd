from emulator.ledger cimport Ledger
from emulator.ownership cimport Ownership

cdef class CoreParts:
    cdef public Ownership ownership
    cdef public Ledger ledger
    cdef public object submit
    cdef public bint not_ready
    cdef public object deny
    cdef public object on_complete
    cdef public object hold_completion
    cdef public bint scramble_offsets
    cdef public set dispatch_threads
