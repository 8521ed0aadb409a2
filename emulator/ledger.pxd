cimport cython

cdef class Ledger:
    cdef public dict _young
    cdef public dict _old
    cdef public Py_ssize_t _next
    cdef public Py_ssize_t serial
    cdef public object _brief
    @cython.locals(number=Py_ssize_t)
    cpdef mark(self, tuple history, object injection=*, bint fragment=*)
    @cython.locals(number=Py_ssize_t)
    cpdef record(self, object mark)
    cpdef settle(self, object mark)
    cpdef brief(self, tuple history)
    cpdef forget(self, object mark)
