cimport cython
from emulator.callout cimport RegisteredCallout
from emulator.deciding cimport Deciding
from emulator.stream cimport IoPacket
from emulator.stream_stage cimport Chunk, Place, Stage, Ticket

cdef class StreamDirection:
    cdef public StreamFlow flow
    cdef public bint inbound
    cdef public long long base
    cdef public long long mask
    cdef public list stages
    cdef public object out
    cdef public long long produced
    cdef public long long written
    cdef public bint fin_indicated
    cdef public bint fin_out
    cdef public bint abort_indicated
    @cython.locals(stage=Stage, stages=list)
    cpdef push(self, Chunk chunk, Py_ssize_t index)
    cpdef Place place(self, Py_ssize_t index)
    @cython.locals(stage=Stage)
    cpdef missed(self, Py_ssize_t index, Py_ssize_t octets)
    @cython.locals(stage=Stage)
    cpdef list stages_of(self, object callout_id)

cdef class StreamFlow:
    cdef dict __dict__
    cdef object __weakref__
    cdef public object engine
    cdef public object core
    cdef public object flow
    cdef public object layer
    cdef public StreamDirection receive
    cdef public StreamDirection send
    cdef public bint ended
    cdef public object newest_filter
    cdef public object on_wake
    cdef public object on_drop
    cdef public object injecting
    cdef public object _header
    cdef public object _due
    cdef public object _inbox
    cdef public object _lock
    cdef public object _guard
    cdef public object _owner
    cdef public object filters
    cpdef run(self, object work)
    cpdef _fall(self, StreamDirection direction, Chunk chunk)
    cpdef context(self, object callout_id)
    @cython.locals(seen=Deciding)
    cpdef Deciding sight(self)
    @cython.locals(seen=Deciding, callout=RegisteredCallout, outsider=bint)
    cpdef Deciding ask(self, Stage stage, IoPacket packet, object out_flags)
    cpdef _tell(self, Deciding seen, object item)
    @cython.locals(ticket=Ticket, due=bint)
    cpdef settle(self, Chunk chunk, object status=*)
    cpdef complete_due(self)
