cimport cython
from emulator.flatlist cimport FlatList
from emulator.injection cimport Injection
from emulator.ledger cimport Ledger
from emulator.netbuffer cimport Mdl, NetBuffer
from emulator.paths.batch cimport SendBatch
from emulator.paths.network cimport NetworkInjector
from emulator.paths.packets cimport PacketPath

cdef class Departures:
    cdef public PacketPath packets
    cdef public Ledger ledger
    cdef public NetworkInjector sockets
    cdef public object completed
    cdef public object alone
    cdef public object sent
    cdef public SendBatch batch
    cdef public list injections
    cdef public object _mark
    @cython.locals(item=FlatList, packets=PacketPath, batch=SendBatch, version=int, taken=int)
    cpdef bint gather(self, Injection injection) except -1
    @cython.locals(injections=list, injection=Injection, refused=list, at=Py_ssize_t, next_refused=Py_ssize_t, count=Py_ssize_t)
    cpdef leave(self)
    @cython.locals(first=NetBuffer, buffer=NetBuffer, count=Py_ssize_t, taken=int, waits=bint)
    cpdef _gather_all(self, Injection injection, int version)
    @cython.locals(mdl=Mdl, start=Py_ssize_t, length=Py_ssize_t)
    cpdef int _take(self, NetBuffer buffer, int version) except -1
    @cython.locals(ledger=Ledger)
    cpdef _note(self, Injection injection, int version)
