cimport cython
from emulator.deciding cimport Deciding
from emulator.flatlist cimport FlatList, new_list
from emulator.octets cimport IpView
from emulator.paths.held cimport Held

cdef class Sighted(Deciding):
    cdef public object step
    cdef public Held held
    cdef public tuple history
    cdef public int layer_flags
    cdef public FlatList item
    cdef public Py_ssize_t start
    cdef public Py_ssize_t offset
    @cython.locals(held=Held, view=IpView, item=FlatList)
    cdef FlatList _show(self)
