cimport cython
from emulator.callout cimport RegisteredCallout
from emulator.deciding cimport Deciding
from emulator.stream cimport IoPacket

cdef class Place:
    cdef public Py_ssize_t index

cdef class Ticket:
    cdef public object injection
    cdef public Py_ssize_t left
    cdef public object status

cdef class Chunk:
    cdef public object memory
    cdef public Py_ssize_t base
    cdef public Py_ssize_t start
    cdef public Py_ssize_t end
    cdef public long long flags
    cdef public object injector
    cdef public Place passes
    cdef public Ticket ticket
    @cython.locals(first=Chunk)
    cpdef Chunk head(self, Py_ssize_t size)
    cpdef view(self)

cdef class Stage(Place):
    cdef public object direction
    cdef public object filter
    cdef public Py_ssize_t after
    cdef public bint late
    cdef public object queue
    cdef public Py_ssize_t held
    cdef public Py_ssize_t need
    cdef public Py_ssize_t missed
    cdef public bint running
    cdef public bint deferred
    cdef public long long deferred_flags
    cdef public bint allowed
    cdef public bint introduced
    cdef public bint permitted
    cdef public bint oob
    cdef public bint fin_pended
    cdef public list clones
    cdef public list fresh
    @cython.locals(callout=RegisteredCallout)
    cpdef bint wants(self, Chunk chunk) except -1
    cpdef bint idle(self) except -1
    cpdef offer(self, Chunk chunk)
    cpdef process(self)
    @cython.locals(head=Chunk, flags=cython.longlong, length=Py_ssize_t, window=list)
    cpdef bint _step(self) except -1
    @cython.locals(last=Chunk)
    cpdef bint _last_is_plain(self) except -1
    @cython.locals(chunk=Chunk, first=Chunk, length=Py_ssize_t, window=list)
    cpdef tuple _window(self)
    @cython.locals(callout=RegisteredCallout, chunk=Chunk, flags=cython.longlong, spans=list, packet=IoPacket)
    cpdef _show(self, object window, Py_ssize_t length, long long out_flags)
    cpdef _cloned(self, list made)
    @cython.locals(kind=cython.longlong)
    cpdef _answer(self, Deciding seen, IoPacket packet, Py_ssize_t length, long long out_flags)
    cpdef _more(self, object required, Py_ssize_t length, long long out_flags)
    @cython.locals(chunk=Chunk)
    cpdef _apply(self, long long action, Py_ssize_t size)
    @cython.locals(chunk=Chunk)
    cpdef _block(self, list chunks, Py_ssize_t size)
    cpdef _check_inline(self)
    @cython.locals(head=Chunk, have=Py_ssize_t, taken=list)
    cpdef list _take(self, Py_ssize_t size)
    @cython.locals(chunk=Chunk)
    cpdef Chunk _pop(self)
