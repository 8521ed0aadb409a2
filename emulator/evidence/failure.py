"""What a bed can say about a run that went wrong: for the report of a failed test or scenario."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emulator.stack import Stack
    from emulator.topology import Bed

_OWN = f"{Path(__file__).parent.parent}/"
_SCENARIOS = f"{_OWN}scenarios/"
REMEMBERED = 2000
"""Events of a bed that are kept for the report of a failure: the latest."""
_NETNS = f"{Path(__file__).parents[2]}/netns/"


def sections(bed: Bed) -> list[tuple[str, str]]:
    """(title, text) of everything there is to say about the emulated hosts of a bed, the packets' trace last.

    A stack that has a `trace` is asked for its `text()`.
    """
    found: list[tuple[str, str]] = []
    for host in bed:
        if host.emulated is None:
            continue
        stack = host.emulated
        for title, lines in (
            ("broken rules", [str(violation) for violation in stack.core.violations]),
            ("exceptions of callouts", [_raised(where, error) for where, error in stack.core.callback_errors]),
            ("refused by Linux", [f"{where}: {error}" for where, error in stack.core.lab_errors]),
            ("held by drivers", stack.core.leaks()),
            ("books", books(stack)),
        ):
            if lines:
                found.append((f"{host.name}: {title}", "\n".join(lines)))
        trace: Any = getattr(stack, "trace", None)
        if trace is not None:
            found.append((f"{host.name}: trace", trace.text()))
    return found


def remember(bed: Bed) -> None:
    """Keep the latest of what the emulated hosts of a bed do, for `sections`; one that is traced is left alone."""
    import time

    from emulator.evidence.trace import Tracer
    from emulator.evidence.traceevents import Place

    untraced = [host for host in bed if host.emulated is not None and host.emulated.trace is None]
    if untraced:
        tracer = Tracer(time.time_ns, most=REMEMBERED)
        for host in untraced:
            assert host.emulated is not None
            tracer.attach(Place(name=host.name, emulated=True), host.emulated)


def books(stack: Stack) -> list[str]:
    """A line for every hook that saw packets, one for the injections, one for what was lost."""
    plain: dict[str, Any] = stack.books.as_dict()
    lines = [f"{hook}: {_numbers(book)}" for hook, book in plain["hooks"].items()]
    if plain["injections"]["accepted"]:
        lines.append(f"injections: {_numbers(plain['injections'])}")
    if plain["lost"]:
        lines.append(f"lost: {_numbers(plain['lost'])}")
    return lines


def _numbers(book: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in book.items() if count)


def _raised(where: str, error: BaseException) -> str:
    return f"{where}: {told(error)}"


def place(error: BaseException) -> str:
    """The innermost line of an exception that is not the emulator's own, as `redact.py:23`; else empty."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not _is_own(frame.filename)] or list(frames)
    return f"{Path(theirs[-1].filename).name}:{theirs[-1].lineno}" if theirs else ""


def told(error: BaseException) -> str:
    """An exception in one line, with its place."""
    at = place(error)
    return f"{type(error).__name__}: {str(error) or 'without a message'}" + (f" (at {at})" if at else "")


def _is_own(filename: str) -> bool:
    if filename.startswith(_SCENARIOS):
        return False
    return filename.startswith((_OWN, _NETNS)) or "/lib/python3" in filename
