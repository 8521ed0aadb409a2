cimport cython
from emulator.coreparts cimport CoreParts
from emulator.ledger cimport Ledger, Record
from emulator.looping cimport LoopGuard
from emulator.paths.books cimport Books, HookBook
from emulator.paths.course cimport Course
from emulator.paths.held cimport Held, hold
from emulator.paths.netlink_verdicts cimport settle
from emulator.paths.queued cimport Arrival, QueuedPacket
from emulator.paths.sighted cimport Sighted

cdef int PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING
cdef int _MAGIC, _PLAIN_V4
cdef long long _ABSORB, _LOOPBACK
cdef Py_ssize_t _ACCEPT, _DROP

cdef class PacketPath:
    cdef object __weakref__
    cdef public CoreParts core
    cdef public Ledger ledger
    cdef public Books books
    cdef public Course course
    cdef public object completed
    cdef public object hooks
    cdef public object queue
    cdef public dict held
    cdef public object groups
    cdef public object after_packet
    cdef public object before_burst
    cdef public bint offload
    cdef public LoopGuard guard
    cdef public object thread_id
    cdef public int loopback_index
    cdef public dict exact
    cdef public object unseen
    cdef public object on_thread
    cdef public long long last_record
    cdef _meet(self, int hook, Held held, Record record)
    @cython.locals(packets=list, collects=bint)
    cpdef drain(self)
    @cython.locals(packet=QueuedPacket, hook=int, version=int, mark=cython.uint, hooks=dict, book=HookBook, record=Record)
    cpdef _show(self, list packets)
    @cython.locals(interface=cython.longlong, flags=int, seen=Sighted, history=tuple)
    cpdef _prerouting(self, Held held, Record record)
    @cython.locals(interface=cython.longlong, flags=int, seen=Sighted, history=tuple)
    cpdef _input(self, Held held, Record record)
    @cython.locals(seen=Sighted, history=tuple)
    cpdef _forward(self, Held held, Record record)
    @cython.locals(interface=cython.longlong, flags=int, seen=Sighted, history=tuple)
    cpdef _output(self, Held held, Record record)
    @cython.locals(packet=QueuedPacket, interface=cython.longlong, flags=int, seen=Sighted, history=tuple)
    cpdef _postrouting(self, Held held, Record record)
    @cython.locals(book=HookBook)
    cpdef _passed(self, Held held, int hook, Record record, object payload=*, object mark=*, bint final=*)
    cpdef bint leaves(self, int hook, Held held) except -1
    cpdef bint is_last(self, int hook, Held held) except -1
    @cython.locals(absorbed=bint)
    cpdef _stopped(self, Held held, Sighted seen, Record record)
    @cython.locals(book=HookBook)
    cpdef _drop(self, Held held)
    @cython.locals(book=HookBook)
    cpdef reinjected(self, Held held, object payload, unsigned int mark)

@cython.locals(size=Py_ssize_t, first=int)
cpdef int _version(object octets) except -1
