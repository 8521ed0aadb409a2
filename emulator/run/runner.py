"""Running one scenario: on a bed of its own for every family, into a result that says what was seen."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emulator.checks import Check, Checks
from emulator.evidence.failure import place, remember, sections, told
from emulator.run.interrupts import Terminated, TimedOut, deadline, shielded, time_stopped
from emulator.run.listener import Listener
from emulator.run.results import Result
from emulator.run.seeds import run_seeds
from emulator.scenario import FAMILY_NAMES, Scenario
from emulator.violations import Level, Reaction
from emulator.wfptypes import AddressFamily
from netns.errors import MissingFeature, NotPermitted
from netns.patience import patient
from netns.process import find_program

if TYPE_CHECKING:
    from emulator.evidence.artifacts import Evidence
    from emulator.stack import Stack
    from emulator.topology import Bed, HostOptions

Pause = Callable[[str, "Bed", str], None]
"""Called with the label of a lab, its bed, and what went wrong; the scenario goes on when it returns."""
ANSWER_SECONDS = 1.0
SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class Settings:
    """How scenarios are run."""

    host: HostOptions | None = None
    """How emulated hosts are made; None is the ordinary way."""
    timeout: float | None = 60.0
    """Seconds after which a scenario is ended, for each family; None waits for ever."""
    family: AddressFamily | None = None
    """Only this family; None runs all."""
    full: bool = False
    """Run the long version of scenarios that have one."""
    pause: Pause | None = None
    """Called where the run is to stop."""
    pause_on_failure: bool = True
    pause_at_steps: bool = False
    kept: ExitStack | None = field(default=None, compare=False)
    """Takes the labs over, instead of their being removed at the end."""
    seed: int = 0
    schedules: int = 0
    """Under how many schedules each scenario runs, those of the seed and the numbers after it; 0 is without."""
    evidence: Evidence | None = field(default=None, compare=False)
    """Records every bed."""


def run_one(
    item: Scenario, settings: Settings = Settings(), listener: Listener | None = None, number: int = 0  # noqa: B008
) -> Result:
    """Run one scenario for each of its families, each on a new bed; what goes wrong in it is in the result.

    Raises only what ends the whole run: KeyboardInterrupt, Terminated.
    """
    if settings.schedules:
        return run_seeds(item, settings, lambda one: run_one(item, one, listener, number))
    watching = listener or Listener()
    whole = Result(item.name, item.summary)
    began = time.monotonic()
    several = len(item.families) > 1
    for family in item.families:
        if settings.family in (None, family) or family == AddressFamily.UNSPEC:
            _merge(whole, run_family(item, family, settings, watching, number), prefixed=several)
    if not whole.families:
        whole.unmeasured.append("it does not run for this family")
    whole.seconds = time.monotonic() - began
    return whole


def run_family(
    item: Scenario,
    family: AddressFamily,
    settings: Settings = Settings(),  # noqa: B008
    listener: Listener | None = None,
    number: int = 0,
) -> Result:
    """Run one scenario for one family on a new bed; raises as `run_one`."""
    return _Run(item, family, settings, listener or Listener(), number).go()


def _merge(whole: Result, part: Result, *, prefixed: bool) -> None:
    (family,) = part.families
    prefix = f"{family}: " if prefixed else ""
    whole.families.append(family)
    for check in part.checks:
        whole.checks.append(Check(prefix + check.name, check.ok, check.expected, check.seen, check.where))
    whole.violations += part.violations
    whole.books["hosts"].update(part.books["hosts"])
    whole.books["closed"] = whole.books["closed"] and part.books["closed"]
    whole.books["canaries"] = dict(Counter(whole.books["canaries"]) + Counter(part.books["canaries"]))
    whole.steps += [prefix + step for step in part.steps]
    whole.unmeasured += [prefix + reason for reason in part.unmeasured]
    whole.missing += [prefix + reason for reason in part.missing]
    whole.sections += [(prefix + title, text) for title, text in part.sections]


class _Run:
    """One scenario, one family, from the making of its beds to their removal."""

    def __init__(
        self, item: Scenario, family: AddressFamily, settings: Settings, listener: Listener, number: int
    ) -> None:
        self.item = item
        self.family = family
        self.settings = settings
        self.listener = listener
        self.number = number
        self.title = FAMILY_NAMES[family]
        self.label = f"{item.name}[{self.title}]"
        self.result = Result(item.name, item.summary, [self.title])
        self.beds: list[Bed] = []
        self.own_checks = 0
        self.checks = Checks(full=settings.full, on_step=self._step, on_check=self._checked)

    def go(self) -> Result:
        """Run it; whatever happens, the beds are removed, or kept by whoever asked for that."""
        try:
            ended = self._run()
            self._close_books(ended)
            self._keep_evidence()
        finally:
            self._remove()
        result = self.result
        result.checks = self.checks.taken
        result.steps = self.checks.steps
        if not self.own_checks and not result.unmeasured and all(check.ok for check in result.checks):
            result.unmeasured.append("it took no check: a scenario that checks nothing proves nothing")
        return result

    def _run(self) -> bool:
        """The scenario itself; True when it came to its end."""
        try:
            for program in self.item.programs:
                find_program(program)
            arguments = self._arguments()
            watched = self.listener.watching(self.number, self.label, self.beds)
            timeout = self.settings.timeout
            limit = None if timeout is None else patient(timeout)
            with watched, deadline(limit, f"scenario {self.item.name}"):
                self.item.function(**arguments)
                for bed in self.beds:
                    bed.unload_drivers()
                    for stack in bed.stacks:
                        stack.settle(timeout=SETTLE_SECONDS)
        except Terminated:
            raise
        except (MissingFeature, NotPermitted) as error:
            self.result.unmeasured.append(str(error))
            self.result.missing.append(str(error))
        except (Exception, SystemExit) as error:
            self._stopped(error)
        else:
            return True
        return False

    def _arguments(self) -> dict[str, Any]:
        from emulator.topology import HostOptions

        options = self.settings.host or HostOptions()
        arguments: dict[str, Any] = {}
        for name, kind in self.item.beds().items():
            if kind is not None:
                with shielded():  # a bed that exists is in the list: nothing comes between
                    arguments[name] = kind(options, label=self.label)
                    self.beds.append(arguments[name])
                    if self.settings.evidence is not None:
                        self.settings.evidence.begin(arguments[name], self.item.name, self.title)
                    remember(arguments[name])
            else:
                arguments[name] = self.checks if self._wants_checks(name) else self.family
        return arguments

    def _wants_checks(self, name: str) -> bool:
        hint = self.item.function.__annotations__.get(name)
        return name == "check" if hint is None else hint is Checks or str(hint).endswith("Checks")

    # -- what happens meanwhile -------------------------------------------------------------------------

    def _step(self, text: str) -> None:
        self.listener.step(self.number, text)
        if self.settings.pause_at_steps:
            self._pause(f"step: {text}")

    def _checked(self, check: Check) -> None:
        self.own_checks += 1
        self.listener.checked(self.number, check)
        if not check.ok:
            self._gather()
            self._pause_on_failure(f"{check.name}: expected {check.expected}, seen {check.seen}")

    def _pause(self, why: str) -> None:
        if self.settings.pause is not None and self.beds:
            with time_stopped():
                self.settings.pause(self.label, self.beds[0], why)

    def _pause_on_failure(self, why: str) -> None:
        if self.settings.pause_on_failure:
            self._pause(why)

    def _gather(self) -> None:
        """Keep what the hosts can say now, at the first thing that goes wrong."""
        if not self.result.sections:
            for bed in self.beds:
                self.result.sections += sections(bed)

    def _stopped(self, error: BaseException) -> None:
        """The scenario was ended by an exception: tell where, and who was in the way."""
        from emulator.traffic import CanaryLost

        self._gather()
        reason = told(error)
        if isinstance(error, TimedOut | TimeoutError | CanaryLost):
            reason = "; ".join([reason, *self._in_the_way()])
        if isinstance(error, CanaryLost):
            self.result.unmeasured.append(reason)
        else:
            self.checks.on_check = None
            self.checks.take("ran to its end", False, "no exception", reason)
        self._pause_on_failure(reason)

    def _in_the_way(self) -> list[str]:
        """What the emulated hosts are waiting for, in words."""
        return [reason for bed in self.beds for stack in bed.stacks for reason in waiting_for(stack)]

    # -- the end ----------------------------------------------------------------------------------------

    def _close_books(self, ended: bool) -> None:
        """Close the emulated hosts, then hold their books, leaks and violations against what was promised."""
        self.checks.on_check = None
        for bed in self.beds:
            leaks = [leak for stack in bed.stacks for leak in stack.core.leaks()]
            try:
                with shielded():
                    bed.close_stacks()
            except Exception as error:
                self.checks.take("the hosts could be closed", False, "no exception", told(error))
            self._book(bed, ended)
            if ended:
                self.checks("nothing leaked", leaks, [])
        rules = [violation["rule"] for violation in self.result.violations]
        if ended or rules:
            self._judge(rules)

    def _judge(self, rules: list[str]) -> None:
        """Hold the broken rules against those the scenario breaks on purpose, as far as this level shows them."""
        options = self.settings.host
        expected = self.checks.expected_violations
        if options is not None and options.level < Level.FULL:
            expected = list((Counter(expected) & Counter(rules)).elements())
        if options is not None and options.reaction == Reaction.REPORT:
            expected = rules
        self.checks("broken rules", sorted(rules), sorted(expected))

    def _book(self, bed: Bed, ended: bool) -> None:
        books = self.result.books
        books["canaries"] = dict(Counter(books["canaries"]) + Counter(vars(bed.canaries)))
        for host in bed:
            if host.emulated is None:
                continue
            core, book = host.emulated.core, host.emulated.books
            books["hosts"][f"{self.title} {host.name}"] = book.as_dict()
            books["closed"] = books["closed"] and book.closed
            self.result.violations += _violations(host.emulated, self.title)
            if ended:
                self.checks.that(f"the books of {host.name} close", book.closed, book.as_dict())
                self.checks("Linux refused nothing", [told(error) for _, error in core.lab_errors], [])

    def _keep_evidence(self) -> None:
        evidence = self.settings.evidence
        if evidence is None:
            return
        self.result.checks = self.checks.taken
        for bed in self.beds:
            books = {host.name: host.emulated.books.as_dict() for host in bed if host.emulated is not None}
            try:
                evidence.end(bed, self.result.status, books, order=self.number)
            except OSError as error:  # a full disk, as a rule: what was seen counts all the same
                self.checks.take("its trace could be written", False, "no exception", told(error))

    def _remove(self) -> None:
        for bed in reversed(self.beds):
            if self.settings.kept is not None:
                self.settings.kept.callback(bed.close)
                continue
            try:
                bed.close()
            except Exception as error:
                self.checks.take("the lab could be removed", False, "no exception", told(error))


def waiting_for(stack: Stack) -> list[str]:
    """What keeps a host from being quiet: a classify that does not return, lists that were not given back.

    A classify that does not return is ended, if it runs Python code.
    """
    try:
        stack.loop.call(lambda: None, timeout=ANSWER_SECONDS)
    except TimeoutError:
        where = stack.loop.standing()
        stack.loop.interrupt()
        return [f"the dispatch thread of {stack.namespace.name} does not come back from a callout: {where}"]
    except RuntimeError as error:
        return [f"{error}: {told(error.__cause__)}" if error.__cause__ else str(error)]
    return stack.core.leaks()


def _violations(stack: Stack, family: str) -> list[dict[str, str]]:
    raised = deque(error for _, error in stack.core.callback_errors)
    found = []
    for violation in stack.core.violations:
        text = str(violation)
        if raised and f"{type(raised[0]).__name__}: {raised[0]}" in violation.message:
            text += f" (at {place(raised.popleft())})"
        found.append({"family": family, "rule": violation.rule, "text": text})
    return found
