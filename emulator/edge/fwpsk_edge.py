"""The boundary: where a refusal becomes an NTSTATUS, and where a value becomes a handle.

Nothing else catches `WfpError`, and nothing here catches more: a bug must crash.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, overload

from emulator.errors import NotImplementedInProfile, WfpError
from emulator.handle import InjectionHandle
from emulator.ntstatus import NtStatus
from emulator.wfptypes import AddressFamily, InjectionType, WindowsVersion

if TYPE_CHECKING:
    from emulator.core import Core

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", bound="Edge")


class Edge:
    """What the parts of the edge share: the core of one emulated host.

    `refused` is the last refusal that left as a status: its text names the object and the rule, which a
    status cannot.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.refused: WfpError | None = None


class NoHandle(InjectionHandle):
    """Stands for a value that is no injection handle of the host: refused where a dead handle is (GE-8)."""

    __slots__ = ("value",)

    def __init__(self, core: Core, value: object) -> None:
        every = InjectionType(0x3F)
        super().__init__(core, AddressFamily.UNSPEC, every, 0)
        self.value = value
        self.closing = self.dead = True

    def __repr__(self) -> str:
        return f"<{self.value!r}, which is no handle of this host>"


def handle_of(core: Core, value: object) -> InjectionHandle:
    """The handle a value is, or one that every call refuses with InvalidHandle in its order (GE-8)."""
    if isinstance(value, InjectionHandle) and value.core is core:
        return value
    return NoHandle(core, value)


@overload
def as_status(
    *, out: Literal[False] = False, since: WindowsVersion = WindowsVersion.VISTA
) -> Callable[[Callable[Concatenate[E, P], NtStatus | None]], Callable[Concatenate[E, P], NtStatus]]: ...


@overload
def as_status(
    *, out: Literal[True], since: WindowsVersion = WindowsVersion.VISTA
) -> Callable[[Callable[Concatenate[E, P], T]], Callable[Concatenate[E, P], tuple[NtStatus, T | None]]]: ...


def as_status(*, out: bool = False, since: WindowsVersion = WindowsVersion.VISTA) -> Any:
    """The one place where an exception becomes an NTSTATUS; for methods of an `Edge`.

    With `out`, what the method returns is the out-parameter behind STATUS_SUCCESS, None behind a refusal;
    without, a method may return a status of its own.  Under a profile older than `since` the method is not
    called, and the status is STATUS_NOT_IMPLEMENTED.  Source: VE-1, GE-2.
    """

    def decorate(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def method(self: Edge, *args: Any, **named: Any) -> Any:
            try:
                if self.core.profile < since:
                    raise _too_new(call, since)
                result = call(self, *args, **named)
            except WfpError as error:
                self.refused = error
                return (error.status, None) if out else error.status
            if out:
                return NtStatus.SUCCESS, result
            return NtStatus.SUCCESS if result is None else result

        return method

    return decorate


def as_void(call: Callable[Concatenate[E, P], None]) -> Callable[Concatenate[E, P], None]:
    """For functions that return nothing: what they cannot refuse becomes a violation.  Source: GE-9."""

    @wraps(call)
    def method(self: E, /, *args: P.args, **named: P.kwargs) -> None:
        try:
            call(self, *args, **named)
        except WfpError as error:
            self.refused = error
            self.core.violate(error.rule, call.__name__, str(error.args[0]))

    return method


def _too_new(call: Callable[..., Any], since: WindowsVersion) -> NotImplementedInProfile:
    return NotImplementedInProfile(f"{call.__name__} came with {since.name}", rule="VE-1")
