cimport cython
from emulator.flatlist cimport FlatList
from emulator.flight cimport Flight
from emulator.injection cimport Injection
from emulator.netbuffer cimport is_aligned

cdef class InjectionCalls(Flight):
    @cython.locals(item=FlatList)
    cpdef _send(self, Injection injection)
