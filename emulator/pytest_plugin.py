"""The pytest plugin: hosts as fixtures, scenarios as tests, and what the hosts know in the report of a failure.

Fixtures: `family` (both, one after the other), `lab` (empty), the beds `pair`, `routed`, `alone`, `bridged`,
`two_drivers` and `empty`, and on the bed that a test asks for (else `pair`) `host`, `peer`, `driver`,
`handle` and `check`.  When a bed's test has ended, leaks, broken rules and books that do not close fail it.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from emulator.checks import Checks
    from emulator.driver import Driver
    from emulator.handle import InjectionHandle
    from emulator.run.results import Result
    from emulator.run.runner import Settings
    from emulator.scenario import Scenario
    from emulator.topology import Bed, Host, HostOptions
    from emulator.wfptypes import AddressFamily
    from netns.features import Feature
    from netns.lab import Lab

_MARKERS = (
    ("rule", "rule(*ids): the contract rules this test proves"),
    ("case", "case(*ids): the acceptance cases this test stands for"),
    (
        "wfplab",
        "wfplab(types=..., violations=(...), features=(...)): what the fixture `handle` may inject, the rules that "
        "the test breaks on purpose, the kernel features it needs",
    ),
)
_BED_NAMES = ("pair", "routed", "alone", "bridged", "two_drivers", "empty")
_NEEDS_ROOT = "needs root: run pytest with sudo, or with --wfplab-rootless"
_SCENARIO_SECONDS = 60.0
_SECTIONS = pytest.StashKey[list[tuple[str, str]]]()
_FAILED = pytest.StashKey[bool]()
_BEDS = pytest.StashKey[list["Bed"]]()
_FEATURES = pytest.StashKey[dict[str, "Feature"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, all of one prefix."""
    group = parser.getgroup("wfplab", "Windows Filtering Platform callouts on real traffic")
    group.addoption(
        "--wfplab-require",
        action="store_true",
        help="fail, instead of skipping, where root, a kernel feature or a program is missing",
    )
    group.addoption(
        "--wfplab-rootless",
        action="store_true",
        help="run as an ordinary user: in user, mount and network namespaces of the tests' own",
    )
    group.addoption(
        "--wfplab-queue", metavar="NAME", default="", help="how packets are taken: netlink or netfilterqueue"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, become root where that is asked for; refuse a queue that does not exist."""
    known = [line.partition("(")[0] for line in config.getini("markers")]
    for name, text in _MARKERS:
        if name not in known:
            config.addinivalue_line("markers", text)
    if config.getoption("--wfplab-queue") not in ("", "netlink", "netfilterqueue"):
        raise pytest.UsageError("--wfplab-queue takes netlink or netfilterqueue")
    if config.getoption("--wfplab-rootless"):
        _become_root()


def _become_root() -> None:
    """Root of one's own, for this process and those that pytest-xdist starts; raises UsageError."""
    from netns.errors import LabError
    from netns.rootless import enter

    try:
        enter()
    except LabError as error:
        raise pytest.UsageError(f"--wfplab-rootless: {error}") from error


# -- scenarios as tests ---------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> list[pytest.Item] | None:
    """Collect a scenario of a module, once for each of its families."""
    from emulator.scenario import FAMILY_NAMES, BadScenario, marked

    found = marked(obj)
    if found is None or not isinstance(collector, pytest.Module):
        return None
    try:
        found.beds()
    except BadScenario as error:
        raise collector.CollectError(str(error)) from error
    return [
        ScenarioItem.from_parent(collector, name=f"{name}[{FAMILY_NAMES[family]}]", scenario=found, family=family)
        for family in found.families
    ]


class ScenarioFailed(Exception):
    """Raised for a scenario that did not pass."""

    def __init__(self, result: Result) -> None:
        self.result = result
        super().__init__(f"{result.name} {result.status}")


class ScenarioItem(pytest.Item):
    """One scenario for one address family; carries the rules and cases that it names as markers."""

    def __init__(self, *, scenario: Scenario, family: AddressFamily, **more: Any) -> None:
        super().__init__(**more)
        self.scenario = scenario
        self.family = family
        if scenario.rules:
            self.add_marker(pytest.mark.rule(*scenario.rules))
        if scenario.cases:
            self.add_marker(pytest.mark.case(*scenario.cases))

    def runtest(self) -> None:
        """Run it; raises ScenarioFailed, and skips or fails where the machine lacks something."""
        from emulator.run.runner import run_family

        with _possible(self.config):
            _require_root()
        result = run_family(self.scenario, self.family, _settings(self.config))
        self.stash[_SECTIONS] = result.sections
        if result.missing:
            _cannot_run(self.config, "; ".join(result.missing))
        if result.status != "passed":
            raise ScenarioFailed(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What was expected and what was seen, instead of a traceback through the runner."""
        if isinstance(excinfo.value, ScenarioFailed):
            return "\n".join([self.scenario.text, "", *explained(excinfo.value.result)])
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Where the scenario's function is."""
        code = self.scenario.function.__code__
        return code.co_filename, code.co_firstlineno - 1, self.name


def explained(result: Result) -> list[str]:
    """What is wrong with a result, line by line."""
    lines = [f"nothing was measured: {reason}" for reason in result.unmeasured]
    for check in result.checks:
        if not check.ok:
            lines += [f"{check.name}{f' ({check.where})' if check.where else ''}", f"    expected {check.expected}"]
            lines.append(f"    seen     {check.seen}")
    return lines + [f"broken rule: {violation['text']}" for violation in result.violations]


def _settings(config: pytest.Config) -> Settings:
    from emulator.run.runner import Settings

    # Both would use the same timer; whoever has pytest-timeout has set it as he wants it.
    timeout = None if config.pluginmanager.hasplugin("timeout") else _SCENARIO_SECONDS
    return Settings(host=_host_options(config), timeout=timeout)


def _host_options(config: pytest.Config) -> HostOptions:
    from emulator.paths.queue import QueueBackend
    from emulator.topology import HostOptions

    queue = config.getoption("--wfplab-queue")
    return HostOptions(backend=QueueBackend(queue)) if queue else HostOptions()


# -- what the machine lacks -----------------------------------------------------------------------------


def _require_root() -> None:
    from netns.errors import NotPermitted

    if os.geteuid() != 0:
        raise NotPermitted("making network namespaces")


def _cannot_run(config: pytest.Config, why: str) -> None:
    if config.getoption("--wfplab-require"):
        pytest.fail(f"{why} (--wfplab-require)", pytrace=False)
    pytest.skip(why)


@contextmanager
def _possible(config: pytest.Config) -> Iterator[None]:
    """Skip, or fail if it is required, when the block finds root, a feature or a program missing."""
    from netns.errors import MissingFeature, NotPermitted

    try:
        yield
    except NotPermitted as error:
        why = _NEEDS_ROOT if os.geteuid() != 0 else str(error)
    except MissingFeature as error:
        why = str(error)
    else:
        return
    _cannot_run(config, why)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, a test whose marker names kernel features that are missing; UsageError for unknown ones."""
    wanted = [name for marker in item.iter_markers("wfplab") for name in marker.kwargs.get("features", ())]
    if not wanted:
        return
    with _possible(item.config):
        _require_root()
        if _FEATURES not in item.config.stash:  # probing takes seconds: once for all tests
            from netns.features import probe_all

            item.config.stash[_FEATURES] = {feature.name: feature for feature in probe_all()}
    found = item.config.stash[_FEATURES]
    for name in wanted:
        if name not in found:
            raise pytest.UsageError(f"{item.nodeid}: there is no feature {name}; known are {', '.join(found)}")
        if not found[name].available:
            _cannot_run(item.config, f"{name} is missing")


# -- beds -----------------------------------------------------------------------------------------------


@pytest.fixture(params=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> AddressFamily:
    """Each address family in turn."""
    from emulator.wfptypes import AddressFamily

    return AddressFamily.INET if request.param == "ipv4" else AddressFamily.INET6


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab without hosts; it is removed with the test."""
    from netns.lab import Lab

    with _possible(request.config):
        _require_root()
        made = Lab(label=request.node.name)
    with made:
        yield made


def _bed(name: str) -> Any:
    @pytest.fixture(name=name)
    def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
        from emulator.evidence.failure import remember
        from emulator.topology import BEDS

        with _possible(request.config):
            _require_root()
            made = BEDS[name](_host_options(request.config), label=request.node.name)
        with made:
            request.node.stash.setdefault(_BEDS, []).append(made)
            remember(made)
            yield made
            made.unload_drivers()
            _close_books(request, made)

    bed.__doc__ = f"A bed of the kind {name}, removed with the test; see emulator.topology."
    return bed


pair, routed, alone, bridged, two_drivers, empty = map(_bed, _BED_NAMES)


def _close_books(request: pytest.FixtureRequest, bed: Bed) -> None:
    """Fail a test, which has passed so far, when its hosts did not end well."""
    from emulator.evidence.failure import sections

    expected = [r for marker in request.node.iter_markers("wfplab") for r in marker.kwargs.get("violations", ())]
    for stack in bed.stacks:
        stack.settle()
    leaks = [leak for stack in bed.stacks for leak in stack.core.leaks()]
    bed.close_stacks()
    wrong = [f"not given back: {leak}" for leak in leaks]
    violations = [violation for stack in bed.stacks for violation in stack.core.violations]
    if sorted(violation.rule for violation in violations) != sorted(expected):
        wrong += [f"broken rule: {violation}" for violation in violations] or ["no rule was broken"]
        wrong += [f"expected were broken rules {', '.join(expected)}"] if expected else []
    wrong += [f"the books do not close: {stack.books.as_dict()}" for stack in bed.stacks if not stack.books.closed]
    wrong += [f"Linux refused {what}: {error}" for stack in bed.stacks for what, error in stack.core.lab_errors]
    if wrong and not request.node.stash.get(_FAILED, False):
        request.node.stash[_SECTIONS] = sections(bed)
        pytest.fail("\n".join(wrong), pytrace=False)


def _bed_of(request: pytest.FixtureRequest) -> Any:
    """The bed that the test asks for, else a pair."""
    names = [name for name in request.fixturenames if name in _BED_NAMES]
    return request.getfixturevalue(names[0] if names else "pair")


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Host:
    """The emulated host of the test's bed, which is a pair if it asks for none."""
    for found in _bed_of(request):
        if found.emulated is not None:
            return found  # type: ignore[no-any-return]
    raise pytest.UsageError("the bed has no emulated host")


@pytest.fixture
def peer(request: pytest.FixtureRequest) -> Host:
    """The plain host at the other end of a pair."""
    return _bed_of(request).peer  # type: ignore[no-any-return]


@pytest.fixture
def driver(host: Host) -> Iterator[Driver]:
    """A driver on `host`, unloaded with the test."""
    with host.driver() as made:
        yield made


@pytest.fixture
def handle(request: pytest.FixtureRequest, driver: Driver, family: AddressFamily) -> InjectionHandle:
    """A handle of `driver` for `family`: for network injection, or what `@pytest.mark.wfplab(types=...)` says."""
    from emulator.wfptypes import InjectionType

    given = [marker.kwargs["types"] for marker in request.node.iter_markers("wfplab") if "types" in marker.kwargs]
    return driver.create_handle(family, given[0] if given else InjectionType.NETWORK)


@pytest.fixture
def check() -> Checks:
    """Checks as in a scenario: all are taken, and those that did not hold fail the test when it has ended."""
    from emulator.checks import Checks

    return Checks()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test, which has passed so far, for the checks that did not hold, and for having taken none."""
    yield
    found = getattr(item, "funcargs", {}).get("check")
    if found is None or getattr(found, "taken", None) is None:  # somebody else's fixture of that name
        return
    bad = [
        f"{each.name} ({each.where}): expected {each.expected}, seen {each.seen}"
        for each in found.taken
        if not each.ok
    ]
    if not found.taken:
        bad = ["no check was taken: a test that checks nothing proves nothing"]
    if bad:
        pytest.fail("\n".join(bad), pytrace=False)


# -- reports --------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put into the report of a failure what the hosts can say: broken rules, leaks, books, the packets' trace."""
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
        found = item.stash.get(_SECTIONS, [])
        if not found and report.when == "call":
            found = [section for bed in item.stash.get(_BEDS, []) for section in _sections(bed)]
        report.sections += [(f"wfplab: {title}", text) for title, text in found]
    return report


def _sections(bed: Bed) -> list[tuple[str, str]]:
    from emulator.evidence.failure import sections

    return sections(bed)
