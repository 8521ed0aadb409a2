cimport cython

cdef class StreamData:
    cdef public long long flags
    cdef public Py_ssize_t data_length
    cdef public object _spans
    cdef public list _lists
    cdef public object _chain
    cdef public bint ended
    cdef public object on_clone
    @cython.locals(start=Py_ssize_t, end=Py_ssize_t)
    cpdef Py_ssize_t find(self, object octets, Py_ssize_t at=*) except -2
    cpdef finish(self, object retire)

cdef class IoPacket:
    cdef public StreamData stream_data
    cdef public object missed_bytes
    cdef public object count_bytes_required
    cdef public object count_bytes_enforced
    cdef public object stream_action
    cdef public object incoming_flags
