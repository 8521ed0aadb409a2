cimport cython
from emulator.injection cimport Injection
from emulator.paths.books cimport InjectionBook
from emulator.paths.departures cimport Departures
from emulator.paths.injector cimport Injector

cdef class Outbox:
    cdef dict __dict__
    cdef public Injector injector
    cdef public InjectionBook book
    cdef public object queue
    cdef public dict waiting
    cdef public object thread_id
    cdef public object wake
    cdef public bint woken
    @cython.locals(injection=Injection, injector=Injector, book=InjectionBook, departures=Departures)
    cpdef perform(self)
    cpdef submit(self, Injection injection)
    @cython.locals(book=InjectionBook)
    cpdef done(self, Injection injection, object status)
