cdef class RegisteredCallout:
    cdef dict __dict__
    cdef object __weakref__
    cdef public object key
    cdef public object callout_id
    cdef public object flags
    cdef public object classify
    cdef public object notify
    cdef public object flow_delete
    cdef public bint unregistering
    cdef public bint leaving
    cdef public Py_ssize_t running
    cdef public object idle
    cdef public bint conditional_on_flow
    cdef public bint mid_stream
