"""What one emulated host knows, without any I/O: its handles, lists, filters, history and violations.

A `Core` performs nothing.  What handles accept goes to `submit`, which whoever owns the core provides:
the stack of a real host, or a list in a test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from emulator.coreparts import CoreParts
from emulator.engine import FilterEngine
from emulator.handle import InjectionHandle, create_handle
from emulator.injection import FUNCTION_NAMES, TRANSPORT_SEND, Injection
from emulator.ledger import Ledger
from emulator.locks import HeldLocks, SpinLock
from emulator.netbuffer import FREED, POINTER_MASK, NetBufferList
from emulator.octets import TCP, IpView, Malformed, describe
from emulator.ownership import Ownership
from emulator.stream_engine import StreamEngine
from emulator.tags import Tags
from emulator.violations import Level, Reaction, RuleBroken, Violation, ViolationLog, call_stack, told_stack
from emulator.wfptypes import AddressFamily, InjectionType, WindowsVersion

if TYPE_CHECKING:
    from emulator.watching import Watch


class Core(CoreParts):
    """The I/O-free middle of one emulated host.

    `profile` is the Windows version played; `header_flags` admits what only newer headers define (NS-4);
    `stacks` records where every list was made; `level` says how closely drivers are watched: FULL includes
    stacks; `reaction` says what follows when one breaks a rule.
    """

    def __init__(
        self,
        submit: Callable[[Injection], None],
        *,
        profile: WindowsVersion = WindowsVersion.WINDOWS_8,
        header_flags: bool = False,
        stacks: bool = False,
        level: Level = Level.NORMAL,
        reaction: Reaction = Reaction.FAIL,
    ) -> None:
        self.submit = submit
        self.profile = profile
        self.header_flags = header_flags and profile >= WindowsVersion.WINDOWS_8
        self.violations = ViolationLog(level=level, reaction=reaction)
        self.locks = HeldLocks(self)
        """The spin locks that drivers' threads hold."""
        self.watch: Watch | None = None
        """Who watches lists, handles and classifies closely; None below FULL."""
        self.ownership = self._owning(level, stacks)
        self.ledger = Ledger()
        self.tags = Tags(self)
        self.engine = FilterEngine(self)
        self.streams = StreamEngine(self)
        self.engine.flows.on_abort = self.streams.abort
        self.compartments = frozenset({0, 1})
        """The unspecified and the default compartment: one namespace is one compartment (NS-5)."""
        self.not_ready = True
        self.readiness: Callable[[], str | None] = lambda: "the host was not started"
        """Asked while not ready: None when the stack is up now, else why it is not."""
        self.deny = None
        self.on_accept: Callable[[Injection], None] | None = None
        """Told of every injection into a stream, whose lists `submit` does not see: for the trace."""
        self.on_complete = None
        self.hold_completion = None
        self.scramble_offsets = False
        self.dispatch_threads = set()
        self.deferred_threads: set[int] = set()
        """Those that run deferred work right now: at dispatch level, but inside no callback (TS-16)."""
        self.callback_errors: list[tuple[str, BaseException]] = []
        self.lab_errors: list[tuple[str, BaseException]] = []
        """What Linux refused while an accepted injection was performed: never the callout's fault."""
        self.handles: list[InjectionHandle] = []
        self._numbers = 0
        self._guard = threading.Lock()

    def _owning(self, level: Level, stacks: bool) -> Ownership:
        if level < Level.FULL:
            return Ownership(self.violations, stacks=stacks)
        from emulator.watching import Watch

        self.watch = Watch(self)
        return self.watch.ownership

    # -- readiness --------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """True once the stack is up; never False again after that.  Source: ER-1, HC-13."""
        if self.not_ready and self.readiness() is None:
            self.not_ready = False
        return not self.not_ready

    def not_ready_because(self) -> str:
        """Why the stack is not ready, in words."""
        return self.readiness() or "the host is starting"

    # -- handles ----------------------------------------------------------------------------------------

    def create_handle(self, family: int, flags: int = 0) -> InjectionHandle:
        """A new injection handle; see `emulator.handle.create_handle` for the rules and what it raises."""
        return create_handle(self, family, flags)

    def add_handle(self, family: AddressFamily, types: InjectionType) -> InjectionHandle:
        """Make a handle with the next number; numbers are never used again (HD-6)."""
        with self._guard:
            self._numbers += 1
            make = InjectionHandle if self.watch is None else self.watch.handle
            handle = make(self, family, types, self._numbers)
            self.handles.append(handle)
        return handle

    def handle_gone(self, handle: InjectionHandle) -> None:
        """Forget a destroyed handle; its entries in packets' histories stay (HD-7)."""
        with self._guard:
            self.handles.remove(handle)

    def spin_lock(self, name: str = "lock") -> SpinLock:
        """A lock for a driver, which tells of deadlocks (CF-6)."""
        return SpinLock(self, name)

    # -- the caller's context, and its faults -----------------------------------------------------------

    def at_dispatch(self) -> bool:
        """True on a thread that runs classify and completion functions (GE-5)."""
        return threading.get_ident() in self.dispatch_threads

    def violate(
        self,
        rule: str,
        call: str,
        message: str,
        *,
        handle: object = None,
        packet: str = "",
        item: NetBufferList | None = None,
    ) -> None:
        """Record one broken obligation (GE-9), with the list it is about, whose making and octets are told.

        Raises RuleBroken when that is the reaction.
        """
        made: tuple[str, ...] = told_stack(getattr(handle, "made_stack", None))
        others: tuple[tuple[str, tuple[str, ...]], ...] = ()
        if item is not None:
            made = self.ownership.made_at(item)
            packet = packet or ("" if item.state == FREED else describe(item.octets))
            if self.watch is not None:
                others = self.watch.events_of(item)
        noticed = call_stack() if self.ownership.stacks else ()
        self.violations.record(
            Violation(rule, call, message, repr(handle) if handle else "", packet, made, noticed, others)
        )

    def callback_raised(self, where: str, error: BaseException, *, handle: object = None) -> None:
        """Record that a driver's function raised: told as a violation, and kept with its traceback."""
        self.callback_errors.append((where, error))
        if isinstance(error, RuleBroken):  # it is recorded, and was raised for being so
            return
        self.violate("GE-9", where, f"it raised {type(error).__name__}: {error}", handle=handle)

    def lab_failed(self, where: str, error: BaseException) -> None:
        """Record that Linux refused what the emulator needed: told apart from misuse by the callout."""
        self.lab_errors.append((where, error))

    def leaks(self) -> list[str]:
        """Everything drivers still hold, in words; empty when all was given back.  Source: HC-15, OR-3."""
        held = [f"{handle!r} was never destroyed (HC-15)" for handle in self.handles]
        for item, stack in self.ownership.leaks():
            rule = "NB-12" if item.references else "NB-9"
            held.append(f"{item!r} was never given back ({rule})" + (f", made at {stack[0]}" if stack else ""))
        held += self.engine.leaks()
        held += self.streams.leaks()
        held += self.tags.leaks()
        return held

    def check_alignment(self, injection: Injection) -> None:
        """Record IP headers on their way out that lie at an address a processor may not like (GE-18)."""
        item = injection.net_buffer_list
        for address in item.addresses():
            if address & POINTER_MASK and item.octets[:1] and item.octets[0] >> 4 in (4, 6):
                self.violate(
                    "GE-18",
                    FUNCTION_NAMES[injection.function],
                    f"the IP header of {injection.net_buffer_list!r} lies {address} octets into its memory, "
                    f"which is no multiple of {POINTER_MASK + 1}: build it anew",
                    handle=injection.handle,
                )

    def check_inline_tcp(self, injection: Injection) -> None:
        """Record TCP injected at transport from inside a callback: a deadlock on Windows (TS-16, TR-11)."""
        if self.at_dispatch() and threading.get_ident() not in self.deferred_threads and _protocol(injection) == TCP:
            rule = "TS-16" if injection.function == TRANSPORT_SEND else "TR-11"
            self.violate(
                rule,
                FUNCTION_NAMES[injection.function],
                "TCP was injected from inside a callback: queue it and inject from a worker",
                handle=injection.handle,
            )


def _protocol(injection: Injection) -> int:
    """The protocol of what is injected: known of what the stack showed, else read where an IP header is."""
    item = injection.net_buffer_list
    if item.protocol or injection.send_params is not None:
        return item.protocol
    try:
        return IpView(item.octets).protocol
    except Malformed:
        return 0
