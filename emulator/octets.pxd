cimport cython
from emulator cimport spans

cdef class IpView:
    cdef readonly object buffer
    cdef readonly Py_ssize_t start
    cdef readonly Py_ssize_t end
    cdef readonly int version
    cdef readonly Py_ssize_t header_size
    cdef readonly int protocol
    cdef readonly Py_ssize_t total_length
    cdef readonly Py_ssize_t transport_offset
    cdef readonly Py_ssize_t fragment_offset
    cdef readonly Py_ssize_t fragment_word
    cdef bint _has_ports(self) except -1

@cython.locals(view=IpView, size=Py_ssize_t, total=int, fragment=int)
cpdef IpView view_of(object buffer)
