cdef class HookBook:
    cdef public Py_ssize_t offered
    cdef public Py_ssize_t passed
    cdef public Py_ssize_t reinjected
    cdef public Py_ssize_t blocked
    cdef public Py_ssize_t absorbed
    cdef public Py_ssize_t abandoned

cdef class InjectionBook:
    cdef public Py_ssize_t accepted
    cdef public Py_ssize_t by_verdict
    cdef public Py_ssize_t by_injector
    cdef public Py_ssize_t completed
    cdef public Py_ssize_t failed
    cdef public Py_ssize_t vanished

cdef class Books:
    cdef public dict hooks
    cdef public InjectionBook injections
    cdef public dict lost
