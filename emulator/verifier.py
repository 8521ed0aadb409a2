"""The verifier's report: what drivers did wrong, where, with which packet, and what to do about it.

What is noticed at once stands in the host's violation log; what a driver leaves behind is found when the host is
`detached`.  Source: GE-9, OR-3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from emulator.advice import advice
from emulator.netbuffer import NetBufferList
from emulator.octets import describe
from emulator.violations import Level, Reaction, RuleBroken, Violation, told_stack

if TYPE_CHECKING:
    from emulator.core import Core

_RULE_AT_END = re.compile(r"\(([A-Z]{2}-\d+)\)")
_FRAMES_SHOWN = 4


@dataclass(frozen=True)
class Finding:
    """One thing a driver did wrong, ready to be shown; plain values."""

    rule: str
    sentence: str
    packet: str
    handle: str
    stacks: tuple[tuple[str, tuple[str, ...]], ...]
    """(what happened there, where): the making of the object first, the noticing last."""
    advice: str
    host: str = ""

    def as_plain(self) -> dict[str, Any]:
        """Values that JSON can carry."""
        return asdict(self)

    def text(self) -> str:
        """Some lines for people."""
        lines = [f"{self.rule} {self.sentence}" + (f" [{self.host}]" if self.host else "")]
        lines += [f"    {name}: {value}" for name, value in (("packet", self.packet), ("handle", self.handle)) if value]
        for what, stack in self.stacks:
            lines.append(f"    {what}" + (":" if stack else ""))
            lines += [f"        {place}" for place in stack[:_FRAMES_SHOWN]]
        lines.append(f"    to do: {self.advice}")
        return "\n".join(lines)


def finding_of(violation: Violation, host: str = "") -> Finding:
    """A violation with its stacks in order and with what to do about it."""
    stacks: list[tuple[str, tuple[str, ...]]] = []
    if violation.made_at:
        stacks.append(("made", violation.made_at))
    stacks += violation.others
    if violation.noticed_at:
        stacks.append(("noticed", violation.noticed_at))
    sentence = f"{violation.call}: {violation.message}"
    return Finding(
        violation.rule, sentence, violation.packet, violation.handle, tuple(stacks), advice(violation.rule), host
    )


def findings(core: Core, host: str = "") -> list[Finding]:
    """What was noticed on a host so far, in order."""
    return [finding_of(violation, host) for violation in core.violations]


def detached(core: Core) -> list[Violation]:
    """What drivers still hold now that they should have given everything back; nothing is recorded.

    Source: OR-3, HC-15, NB-9, NB-12, CO-4, ST-35.
    """
    found = [_handle_left(handle) for handle in core.handles]
    found += [_list_left(core, item, stack) for item, stack in core.ownership.leaks()]
    found += [_left(line, "CO-4") for line in core.engine.leaks()]
    found += [_left(line, "ST-35") for line in core.streams.leaks()]
    found += [_left(line, "OR-3") for line in core.tags.leaks()]
    return found


def detach(core: Core) -> list[Violation]:
    """Record what drivers still hold, as violations; which ones they were.  Never raises RuleBroken."""
    left = detached(core)
    reaction, core.violations.reaction = core.violations.reaction, Reaction.FAIL
    try:
        for violation in left:
            core.violations.record(violation)
    finally:
        core.violations.reaction = reaction
    return left


def _handle_left(handle: Any) -> Violation:
    return Violation(
        "HC-15",
        "detach",
        f"{handle!r} was never destroyed",
        repr(handle),
        made_at=told_stack(getattr(handle, "made_stack", None)),
    )


def _list_left(core: Core, item: NetBufferList, stack: tuple[str, ...]) -> Violation:
    events = core.watch.events_of(item) if core.watch is not None else ()
    if item.references:
        return Violation(
            "NB-12", "detach", f"{item!r} is still referenced {item.references} times", made_at=stack, others=events
        )
    refused = item.notes.refused if item.notes is not None else None
    completed = item.notes.completed if item.notes is not None else ""
    why = ""
    if refused is not None:
        why = f": {refused[0]} refused it, so no completion comes, and it is still the driver's (GE-2)"
    elif completed:
        why = f": its completion function was called with {completed}, and kept it"
    return Violation(
        "NB-9",
        "detach",
        f"{item!r} was never freed{why}",
        packet=describe(item.octets),
        made_at=stack,
        others=events,
    )


def _left(line: str, usual: str) -> Violation:
    """A line of what is left, under the rule it names, else under the usual one."""
    rule = _RULE_AT_END.search(line)
    return Violation(rule[1] if rule else usual, "detach", _RULE_AT_END.sub("", line).strip())


def as_text(items: Iterable[Finding]) -> str:
    """All findings for people, one after the other."""
    return "\n".join(item.text() for item in items)


__all__ = [
    "Finding", "Level", "Reaction", "RuleBroken", "as_text", "detach", "detached", "finding_of", "findings",
]  # fmt: skip
