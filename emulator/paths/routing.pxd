cimport cython

cdef class Routing:
    cdef object __weakref__
    cdef public object _namespace
    cdef public object _refused
    cdef public object _lookup
    cdef public dict _routes
    cpdef find(self, bytes destination, object interface=*)
    cpdef source(self, bytes destination, object interface=*)
