cimport cython

cdef class Entry:
    cdef readonly object handle
    cdef readonly object context
    cdef readonly Py_ssize_t serial

@cython.locals(made=Entry)
cpdef Entry entry_of(object handle, object context, Py_ssize_t serial)

cdef class Record:
    cdef readonly tuple history
    cdef readonly object injection
    cdef readonly bint fragment

@cython.locals(made=Record)
cdef Record _record(tuple history, object injection, bint fragment)

cdef class Ledger:
    cdef public dict _young
    cdef public dict _old
    cdef public Py_ssize_t _next
    cdef public Py_ssize_t serial
    cdef public object _brief
    @cython.locals(number=Py_ssize_t)
    cpdef unsigned int mark(self, tuple history, object injection=*, bint fragment=*) except? 0
    @cython.locals(number=Py_ssize_t)
    cpdef Record record(self, unsigned int mark)
    @cython.locals(number=Py_ssize_t, record=Record)
    cpdef settle(self, unsigned int mark)
    @cython.locals(mark=cython.uint)
    cpdef unsigned int brief(self, tuple history) except? 0
    @cython.locals(number=Py_ssize_t)
    cpdef forget(self, unsigned int mark)
