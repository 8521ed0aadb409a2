cimport cython
from emulator.flatlist cimport FlatList
from emulator.flight cimport Flight
from emulator.injection cimport Injection, SendParams, held_params
from emulator.netbuffer cimport is_aligned

cdef int UDP

cdef class InjectionCalls(Flight):
    @cython.locals(item=FlatList)
    cpdef _send(self, Injection injection)
    @cython.locals(want=Py_ssize_t)
    cdef _check_params(self, SendParams params, object family, object flags)
