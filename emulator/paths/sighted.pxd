cimport cython
from emulator.coreparts cimport CoreParts
from emulator.deciding cimport Deciding
from emulator.flatlist cimport FlatList, new_list
from emulator.octets cimport IpView
from emulator.paths.held cimport Held
from emulator.paths.steps cimport Step

cdef int INDICATED, RETIRED, STACK
cdef long long NONE

cdef class Sighted(Deciding):
    cdef public Step step
    cdef public Held held
    cdef public tuple history
    cdef public int layer_flags
    cdef public FlatList item
    cdef public Py_ssize_t start
    cdef public Py_ssize_t offset
    cdef public tuple devices
    cdef public tuple discard
    cdef public object _metadata
    cdef public tuple _values
    @cython.locals(held=Held, step=Step, view=IpView, item=FlatList, base=Py_ssize_t, start=Py_ssize_t)
    cdef FlatList _show(self)

@cython.locals(seen=Sighted, kind=type)
cpdef Sighted sight(CoreParts core, Step step, Held held, tuple history, long long interface, int flags)
