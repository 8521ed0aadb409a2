cimport cython
from emulator cimport spans
from emulator.origin cimport Origin

cdef class FlatList:
    cdef public object memory
    cdef public Py_ssize_t base
    cdef public Py_ssize_t start
    cdef public Py_ssize_t end
    cdef public int kind
    cdef public tuple history
    cdef public Origin origin
    cdef public object status
    cdef public object _first
    cdef public object next
    cdef public object parent
    cdef public Py_ssize_t child_count
    cdef public Py_ssize_t references
    cdef public int state
    cdef public object context
    cdef public object made_of
    cdef public object info
    cdef public int protocol
    cdef public long long number
    cdef public long long sight
    cdef public object notes
    @cython.locals(begin=Py_ssize_t, stop=Py_ssize_t)
    cpdef write(self, Py_ssize_t start, object octets)
    cpdef retreat(self, Py_ssize_t delta, Py_ssize_t backfill=*)

@cython.locals(item=FlatList)
cpdef FlatList new_list(type kind_of_list, object memory, Py_ssize_t start, Py_ssize_t end, int kind, tuple history, Origin origin)
