cimport cython
from emulator.octets cimport IpView

@cython.locals(protocol=int)
cpdef int kind_of(IpView view) except -1
