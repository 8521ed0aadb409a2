cdef class Origin:
    cdef public Py_ssize_t claims
    cdef public bint edited
    cdef public bint modified_later
