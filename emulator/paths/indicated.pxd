cimport cython
from emulator.octets cimport IpView
from emulator.paths.endpoints cimport Endpoints
from emulator.paths.held cimport Held
from emulator.paths.queued cimport Arrival
from emulator.paths.sighted cimport Sighted

cdef frozenset _ABOUT_ERRORS

@cython.locals(arrival=Arrival)
cpdef long long leaves_by(Sighted seen) except? 0

@cython.locals(held=Held)
cpdef object endpoint_of(Sighted seen)

@cython.locals(held=Held, view=IpView, error=IpView, endpoints=Endpoints)
cpdef object find_endpoint(Sighted seen)
