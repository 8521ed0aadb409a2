cimport cython
from emulator.flatlist cimport FlatList, new_list
from emulator.origin cimport Origin

cdef int CLONE, DRIVER, FREED, RETIRED

cdef class Ownership:
    cdef object __weakref__
    cdef public object violations
    cdef public bint stacks
    cdef public object deny
    cdef public object on_made
    cdef public object on_freed
    cdef public object on_kept
    cdef public dict live
    cdef public dict _referenced
    cdef public dict _ages
    @cython.locals(made=FlatList)
    cpdef clone(self, FlatList original, object flags=*)
    @cython.locals(origin=Origin)
    cpdef _adopt(self, FlatList made, FlatList parent)
    @cython.locals(origin=Origin, parent=FlatList, unchanged=bint)
    cpdef free_clone(self, FlatList clone, object flags=*)
    cpdef adopt_created(self, FlatList made)
    cpdef free_list(self, FlatList created)
    cpdef _forget(self, FlatList item)
