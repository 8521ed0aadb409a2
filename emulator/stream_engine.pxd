cimport cython
from emulator.callout cimport RegisteredCallout
from emulator.stream_flow cimport StreamDirection, StreamFlow
from emulator.stream_stage cimport Stage

cdef class StreamEngine:
    cdef dict __dict__
    cdef public object core
    cdef public dict flows
    cdef public object interfaces
    cdef public dict active
    cpdef bint enter(self, Stage stage, RegisteredCallout callout) except -1
    cpdef leave(self, Stage stage, RegisteredCallout callout, bint outsider)
    @cython.locals(stage=Stage, callout=RegisteredCallout, direction=StreamDirection)
    cpdef Stage current(self, StreamFlow flow, object callout_id)
    cpdef bint in_classify(self) except -1
