cimport cython
from emulator.octets cimport IpView
from emulator.paths.held cimport Held
from emulator.paths.sighted cimport Sighted

@cython.locals(held=Held, view=IpView, error=IpView)
cpdef object find_endpoint(Sighted seen)
