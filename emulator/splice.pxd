cimport cython
from emulator.stream_flow cimport StreamDirection, StreamFlow
from emulator.stream_stage cimport Chunk

cdef class Splice:
    cdef public StreamFlow flow
    cdef public list _reading
    cdef public list _eof
    cdef public list _fin_written
    cdef public bint _over
    cpdef received(self, object side, object memory, Py_ssize_t start, Py_ssize_t end, long long flags=*)
    @cython.locals(direction=StreamDirection, head=Chunk, have=Py_ssize_t)
    cpdef wrote(self, object side, Py_ssize_t octets)
    @cython.locals(flow=StreamFlow, direction=StreamDirection, commands=list, busy=bint, wanted=bint)
    cpdef list turn(self)
    @cython.locals(found=list, chunk=Chunk, place=Py_ssize_t)
    cpdef list output(self, object side, Py_ssize_t most=*)
    cpdef StreamDirection _toward(self, object side)
