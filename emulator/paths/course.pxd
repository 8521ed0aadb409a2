cimport cython
from emulator.coreparts cimport CoreParts
from emulator.flowtracking cimport Conversation, FlowTracker
from emulator.arbitration cimport Arbiter
from emulator.flatlist cimport FlatList
from emulator.octets cimport IpView
from emulator.paths.endpoints cimport Endpoints
from emulator.paths.held cimport Held
from emulator.paths.plans cimport kind_of
from emulator.paths.routing cimport Routing
from emulator.paths.sighted cimport Sighted, sight
from emulator.paths.steps cimport Plan, Step

cdef int PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING, RETIRED, BEGINS, _AGAIN

cdef class Course:
    cdef object __weakref__
    cdef public CoreParts core
    cdef public Arbiter engine
    cdef public Endpoints endpoints
    cdef public Routing routing
    cdef public FlowTracker tracker
    cdef public object interfaces
    cdef public dict plans
    cdef public list _plan_at
    cdef Plan _plan(self, int hook, int version, int kind)
    cdef public object forwards
    cdef public bint checks_all
    cdef public object both_ways
    cdef public object passes_at_output
    cdef public object reset
    cpdef meet(self, int hook, Held held, tuple history, long long interface, int flags)
    @cython.locals(view=IpView, plan=Plan, steps=tuple)
    cpdef prerouting(self, Held held, tuple history, long long interface, int flags)
    @cython.locals(view=IpView, version=int, plan=Plan, unsure=bint)
    cpdef input(self, Held held, tuple history, long long interface, int flags)
    @cython.locals(plan=Plan)
    cpdef forward(self, Held held, tuple history, long long interface, int flags)
    @cython.locals(view=IpView, plan=Plan)
    cpdef output(self, Held held, tuple history, long long interface, int flags)
    @cython.locals(version=int, plan=Plan)
    cpdef postrouting(self, Held held, tuple history, long long interface, int flags)
    @cython.locals(step=Step)
    cpdef _walk(self, tuple steps, Held held, tuple history, long long interface, int flags)
    @cython.locals(step=Step, due=int, found=Conversation, tracker=FlowTracker)
    cpdef _flow(self, Plan plan, bint inbound, Held held, tuple history, long long interface, int flags)
    @cython.locals(seen=Sighted)
    cpdef indicate(self, Step step, Held held, tuple history, long long interface, int flags)
    cpdef _take_back(self, FlatList item, Sighted seen)
    @cython.locals(item=FlatList)
    cpdef bint _may_pass(self, Sighted seen) except -1
