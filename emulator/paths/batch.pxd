cdef class SendBatch:
    cdef public Py_ssize_t size
    cdef public object interfaces
    cdef set _sources
    cdef void *_memory
    cdef Py_ssize_t _octets
    cdef unsigned char _source[16]
    cdef int _source_version
    cpdef know(self, object interfaces)
    cpdef int take(self, object memory, Py_ssize_t start, Py_ssize_t end, int version) except -1
    cpdef mark(self, unsigned int mark)
    cpdef list send(self, object raw4, object raw6)
    cdef bint _may_send(self, const unsigned char *address, int size, int version) except -1
