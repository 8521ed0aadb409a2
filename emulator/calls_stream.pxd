cimport cython
from emulator.flatlist cimport FlatList
from emulator.flight cimport Flight
from emulator.injection cimport Injection, new_injection
from emulator.stream_flow cimport StreamDirection, StreamFlow
from emulator.stream_stage cimport Chunk, Stage, Ticket

cdef class StreamCalls(Flight):  # nothing of its own: a handle is this and `InjectionCalls`, in one piece of memory
    pass

@cython.locals(item=FlatList, have=Py_ssize_t, owned=dict)
cpdef _check_lists(Flight handle, FlatList chain, long long stream_flags, Py_ssize_t data_length)
@cython.locals(item=FlatList, injection=Injection, made=list)
cpdef list _admit_lists(Flight handle, FlatList chain, object completion, object context, object completion_context, object family)
@cython.locals(flow=StreamFlow)
cpdef _let_fall(StreamDirection direction, object callout_id, Stage current, list chunks)
@cython.locals(chunk=Chunk)
cpdef _fall(StreamDirection direction, object callout_id, Stage current, list chunks)
@cython.locals(injection=Injection, item=FlatList)
cpdef list _chunks(list injections, Py_ssize_t data_length, long long stream_flags, object callout_id, StreamFlow flow)
@cython.locals(ticket=Ticket, injection=Injection, number=Py_ssize_t, take=Py_ssize_t, left=Py_ssize_t, made=list)
cpdef list _chunks_of_chain(list injections, Py_ssize_t data_length, long long stream_flags, object callout_id, StreamFlow flow)
