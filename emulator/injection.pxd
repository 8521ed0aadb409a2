cimport cython
from emulator.flatlist cimport FlatList

cdef class SendParams:
    cdef public object remote_address
    cdef public object remote_scope_id
    cdef public object control_data
    cdef public object header_include_header

cdef tuple _NOTHING

@cython.locals(made=HeldSendParams)
cpdef HeldSendParams held_params(SendParams params)

cdef class HeldSendParams:
    cdef public object remote_scope_id
    cdef public bytes remote_address
    cdef public tuple _buffers
    cdef public tuple _copies
    cpdef bint is_plain(self) except -1
    cpdef died_early(self)

cdef class Injection:
    cdef public int function
    cdef public object handle
    cdef public object context
    cdef public FlatList net_buffer_list
    cdef public object completion
    cdef public object completion_context
    cdef public object family
    cdef public tuple history
    cdef public object interface
    cdef public object sub_interface
    cdef public object endpoint
    cdef public HeldSendParams send_params
    cdef public Py_ssize_t packets_left
    cdef public object status
    cdef public bint preserve_id
    cdef public bint given_back
    cdef public bint scramble
    cdef public long long serial
    cdef public Py_ssize_t gathered
    cdef public bint met

@cython.locals(made=Injection)
cpdef Injection new_injection(int function, object handle, object context, FlatList net_buffer_list, object completion, object completion_context, object family, tuple history)
