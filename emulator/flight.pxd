cimport cython
from emulator.flatlist cimport FlatList
from emulator.ledger cimport Ledger
from emulator.injection cimport HeldSendParams, Injection, new_injection

cdef class Flight:
    cdef public object core
    cdef public Ledger ledger
    cdef public object family
    cdef public object types
    cdef public int type_bits
    cdef public object number
    cdef public bint closing
    cdef public bint dead
    cdef public object in_flight
    cdef public object _changed
    cpdef complete(self, Injection injection, object status, bint dispatch_level=*)
    cpdef bint is_mine(self, FlatList net_buffer_list) except -1
    @cython.locals(item=FlatList)
    cpdef _give_back(self, Injection injection, object status, object dispatch_level)
    cpdef finished(self, Injection injection)
    @cython.locals(injection=Injection, ledger=Ledger, serial=Py_ssize_t, before=tuple)
    cpdef Injection _admit(self, int function, FlatList net_buffer_list, object completion, object context, object completion_context, object flags, object family, object compartment)
