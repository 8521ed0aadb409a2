cimport cython
from emulator.flatlist cimport FlatList, new_list
from emulator.origin cimport Origin

cdef class Ownership:
    cdef dict __dict__
    cdef public object violations
    cdef public object stacks
    cdef public object deny
    cdef public object on_made
    cdef public object on_freed
    cdef public dict live
    cdef public dict _referenced
    cdef public dict _ages
    @cython.locals(made=FlatList)
    cpdef clone(self, FlatList original, object flags=*)
    @cython.locals(origin=Origin)
    cpdef _adopt(self, FlatList made, FlatList parent)
    @cython.locals(origin=Origin, parent=FlatList)
    cpdef free_clone(self, FlatList clone, object flags=*)
    cpdef adopt_created(self, FlatList made)
    cpdef free_list(self, FlatList created)
    cpdef _forget(self, FlatList item)
