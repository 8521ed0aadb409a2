cimport cython
from emulator.coreparts cimport CoreParts
from emulator.injection cimport HeldSendParams, Injection
from emulator.octets cimport IpView
from emulator.paths.endpoints cimport Endpoint, Endpoints
from emulator.paths.held cimport Held
from emulator.paths.routing cimport Routing

cdef int DEFAULT_HOP_LIMIT

cdef class TransportSender:
    cdef public object packets
    cdef public CoreParts core
    cdef public object sender
    cdef public Endpoints endpoints
    cdef public Routing routing
    @cython.locals(params=HeldSendParams)
    cpdef refused(self, Injection injection)
    @cython.locals(header=bytes, plain=bint, hop_limit=int, view=IpView)
    cpdef bint forgets(self, Injection injection, Held held) except -1

@cython.locals(at=Py_ssize_t)
cpdef bint has_no_checksum(IpView view) except -1
