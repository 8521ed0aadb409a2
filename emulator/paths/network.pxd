cdef class NetworkInjector:
    cdef dict __dict__
    cdef public object raw4
    cdef public object raw6
    cdef public object on_send
