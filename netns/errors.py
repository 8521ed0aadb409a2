"""What Linux refused, as one tree.

LabError
├── NotPermitted        the kernel said EPERM/EACCES: this needs root
├── MissingFeature      a kernel feature or a program is not there
├── ProgramFailed       a program ran and failed
│   └── ProgramTimedOut     ... or did not end in time
├── NotReady            something started but did not come up in time
├── NotSeen             a capture did not see what was waited for
├── FramesLost          a capture had no room for frames
├── KernelRefused       a system call or netlink request was refused
├── BadName             a name that Linux or this lab cannot use
├── NameTaken           the name is in use by somebody else
├── UnsafeState         the state directory is not ours alone
└── Closed              the object was closed before

A caller who wants to tell "your call was wrong" from "the world failed" catches `LabError` for the
latter. The operating system's own exception is always chained (`__cause__`).
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Sequence

STDERR_SHOWN_OCTETS = 2000


class LabError(Exception):
    """Linux refused something; the message says what, and what to do next."""


class NotPermitted(LabError):
    """Raised when the kernel demands a privilege that this process lacks."""

    def __init__(self, action: str) -> None:
        self.action = action
        super().__init__(f"{action}: not permitted; run it as root (sudo), outside of an unprivileged container")


class MissingFeature(LabError):
    """Raised when a kernel feature or a program is not there.

    `needed_by` names the paths that cannot work without it, `fallback` what is used instead, if anything.
    """

    def __init__(
        self, name: str, *, needed_by: Sequence[str] = (), detail: str = "", fallback: str | None = None
    ) -> None:
        self.name = name
        self.needed_by = tuple(needed_by)
        self.detail = detail
        self.fallback = fallback
        needs = f" (needed by {', '.join(needed_by)})" if needed_by else ""
        why = f": {detail}" if detail else ""
        instead = f"; instead: {fallback}" if fallback else "; `wfplab doctor` lists what is missing"
        super().__init__(f"{name} is missing{needs}{why}{instead}")


class ProgramFailed(LabError):
    """Raised when a program ended with another status than 0; a negative status is a signal number."""

    def __init__(self, argv: Sequence[str], status: int, stderr: str = "") -> None:
        self.argv = tuple(argv)
        self.status = status
        self.stderr = stderr
        how = f"was killed by signal {-status}" if status < 0 else f"failed with status {status}"
        super().__init__(f"`{shlex.join(argv)}` {how}{_said(stderr)}")


class ProgramTimedOut(ProgramFailed):
    """Raised when a program did not end in the given seconds; it was killed."""

    def __init__(self, argv: Sequence[str], seconds: float, stderr: str = "") -> None:
        super().__init__(argv, -9, stderr)
        self.seconds = seconds
        self.args = (f"`{shlex.join(argv)}` did not end within {seconds:g} s and was killed{_said(stderr)}",)


class NotReady(LabError):
    """Raised when something did not come up in the given seconds."""

    def __init__(self, what: str, seconds: float, stderr: str = "") -> None:
        self.what = what
        self.seconds = seconds
        super().__init__(f"{what} was not ready within {seconds:g} s{_said(stderr)}")


class NotSeen(LabError):
    """Raised when a capture did not see what was waited for; `frames` are the octets of what it did see."""

    def __init__(self, where: str, seconds: float, frames: Sequence[bytes]) -> None:
        self.frames = tuple(frames)
        super().__init__(f"{where}: not seen within {seconds:g} s; {len(frames)} other frames were")


class FramesLost(LabError):
    """Raised when a capture's buffer had no room, so that what it shows is not all there was."""

    def __init__(self, where: str, lost: int, seen: int) -> None:
        self.lost = lost
        self.seen = seen
        super().__init__(
            f"{where}: {lost} of {seen} frames lost; drain more often, or give the capture a larger buffer"
        )


class KernelRefused(LabError):
    """Raised when a system call or a netlink request is refused; `code` is the errno."""

    def __init__(self, action: str, code: int, detail: str = "") -> None:
        self.action = action
        self.code = code
        name = errno.errorcode.get(code, str(code))
        super().__init__(f"{action}: {name} ({os.strerror(code)}){': ' + detail if detail else ''}")


class BadName(LabError):
    """Raised for a name that Linux or the lab cannot use."""

    def __init__(self, kind: str, name: str, rule: str) -> None:
        self.name = name
        super().__init__(f"{name!r} is no {kind} name: {rule}")


class NameTaken(LabError):
    """Raised when a name is in use already; whatever bears it is left alone."""

    def __init__(self, kind: str, name: str) -> None:
        self.name = name
        super().__init__(f"{kind} {name!r} exists already and is not ours; choose another name or remove it")


class UnsafeState(LabError):
    """Raised when the state directory could be written by somebody else."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(f"{path} cannot be trusted: {why}; remove it, then try again")


class Closed(LabError):
    """Raised when a closed object is used."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is closed")


def refused(action: str, error: OSError) -> LabError:
    """The LabError for an OSError; raise it `from` that error."""
    code = error.errno if error.errno is not None else 0
    if code in (errno.EPERM, errno.EACCES):
        return NotPermitted(action)
    return KernelRefused(action, code)


def _said(stderr: str) -> str:
    text = stderr.strip()
    if len(text) > STDERR_SHOWN_OCTETS:
        text = "..." + text[-STDERR_SHOWN_OCTETS:]
    return f"; it said: {text}" if text else ""
