cimport cython
from emulator.coreparts cimport CoreParts
from emulator.flatlist cimport FlatList
from emulator.injection cimport HeldSendParams, Injection
from emulator.ledger cimport Ledger
from emulator.looping cimport LoopGuard
from emulator.octets cimport IpView, view_of
from emulator.paths.books cimport InjectionBook
from emulator.paths.course cimport Course
from emulator.paths.departures cimport Departures
from emulator.paths.held cimport Held
from emulator.paths.packets cimport PacketPath
from emulator.paths.queued cimport Arrival, QueuedPacket
from emulator.paths.sighted cimport Sighted
from emulator.paths.transport cimport TransportSender, has_no_checksum

cdef int FORWARD, NETWORK_RECEIVE, NETWORK_SEND, TRANSPORT_SEND, CREATED, SUB_INTERFACE, UDP, OUTPUT, PREROUTING
cdef unsigned int EXEMPT_MARK
cdef tuple _VERDICT_HOOKS

cdef class Injector:
    cdef public tuple _ways
    cdef object __weakref__
    cdef public PacketPath packets
    cdef public Course course
    cdef public CoreParts core
    cdef public Ledger ledger
    cdef public LoopGuard guard
    cdef public object completed
    cdef public object sender
    cdef public object receiver
    cdef public TransportSender transport
    cdef public object forwarder
    cdef public bint verdicts
    cdef public object waiting
    cdef public dict under_way
    cdef public Departures departures
    @cython.locals(item=FlatList, held=Held, departures=Departures)
    cpdef perform(self, Injection injection)
    cpdef done(self, Injection injection)
    cpdef _sent(self, Injection injection)
    @cython.locals(function=int, item=FlatList, packet=QueuedPacket, view=IpView, other=bint)
    cpdef bint _by_verdict(self, Injection injection, Held held) except -1
    @cython.locals(function=int, start=Py_ssize_t, arrival=Arrival)
    cpdef bint _same_way(self, Injection injection, Held held, IpView view, bint other) except -1
    @cython.locals(params=HeldSendParams, remote=bytes, scope=cython.longlong)
    cpdef bint _same_send(self, Injection injection, Held held, IpView view) except -1
    cdef _fill_in(self, Held held, IpView view)
    @cython.locals(packets=PacketPath, arrival=Arrival, here=int, interface=cython.longlong, flags=int, history=tuple, cut=bint, final=bint, seen=Sighted, hook=int, mark=cython.uint)
    cpdef _reenter(self, Injection injection, Held held)
