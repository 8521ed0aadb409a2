cimport cython
from emulator.coreparts cimport CoreParts
from emulator.flatlist cimport FlatList
from emulator.ledger cimport Entry, Ledger, entry_of
from emulator.injection cimport HeldSendParams, Injection, new_injection

cdef class Flight:
    cdef public CoreParts core
    cdef public Ledger ledger
    cdef public object family
    cdef public object types
    cdef public int type_bits
    cdef public object number
    cdef public bint closing
    cdef public bint dead
    cdef public object in_flight
    cdef public object _changed
    @cython.locals(entry=Entry)
    cpdef bint is_mine(self, FlatList net_buffer_list) except -1
    cpdef complete(self, Injection injection, object status, object dispatch_level=*)
    @cython.locals(item=FlatList, core=CoreParts, elsewhere=bint)
    cpdef _give_back(self, Injection injection, object status, object dispatch_level)
    cpdef finished(self, Injection injection)
    @cython.locals(injection=Injection, core=CoreParts, ledger=Ledger, serial=Py_ssize_t, entry=Entry, history=tuple)
    cpdef Injection _admit(self, int function, FlatList net_buffer_list, object completion, object context, object completion_context, object flags, object family, object compartment)
