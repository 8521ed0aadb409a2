cimport cython
from emulator.flatlist cimport FlatList

cdef class Mdl:
    cdef public object memory
    cdef public Py_ssize_t offset
    cdef public Py_ssize_t length
    cdef public Mdl next
    cdef public bint from_retreat

cdef class NetBuffer:
    cdef public Mdl first_mdl
    cdef public Py_ssize_t data_offset
    cdef public Py_ssize_t data_length
    cdef public NetBuffer next
    cdef public object origin

@cython.locals(buffer=NetBuffer, mdl=Mdl, skip=Py_ssize_t)
cpdef bint is_aligned(FlatList item) except -1
