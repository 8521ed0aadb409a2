cimport cython
from emulator.flight cimport Flight

cdef class InjectionCalls(Flight):
    pass
