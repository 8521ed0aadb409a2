"""The command line: arguments in, exit status out; what a command needs is imported when it runs."""

import errno
import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, NoReturn, cast

import typer

FAILED = 1
WRONG_USAGE = 2
CANNOT_RUN = 77
INTERRUPTED = 130
YOUNG_OBJECTS = 10_000
"""So many more objects than were freed have the garbage collector look for cycles among them; docs/decisions.md."""

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME|FILE|FILE::NAME", help="Scenarios: of the project, or of a Python file.", show_default=False
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the scenario, and of its file.")]
Kept = Annotated[str, typer.Argument(metavar="SCENARIO", help="Whose lab is paused or kept.")]
InHost = Annotated[str, typer.Argument(metavar="HOST", help="One of its hosts.")]
Command = Annotated[list[str] | None, typer.Argument(help="What to run there; by default, a shell.")]
ForPytest = Annotated[list[str] | None, typer.Argument(help="For pytest, which then runs alone.")]
Groups = Annotated[list[str] | None, typer.Argument(help="Groups of rules, such as NB; by default, all.")]
Uncovered = Annotated[bool, typer.Option("--uncovered", help="Only rules that no test proves.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
ListOnly = Annotated[bool, typer.Option("--list", help="Print the names, and run nothing.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", metavar="N", help="Run so many at a time, in processes.")]
Keep = Annotated[
    bool, typer.Option("--keep", help="Keep the hosts until Enter or Ctrl-C: addresses and routes, no drivers.")
]
Pause = Annotated[bool, typer.Option("--pause-on-failure", help="Stop where a check fails, and wait for Enter.")]
Step = Annotated[bool, typer.Option("--step", help="Stop at every step of a scenario, and wait for Enter.")]
Rootless = Annotated[
    bool, typer.Option("--rootless", help="As an ordinary user, where the kernel allows user namespaces.")
]
Live = Annotated[bool, typer.Option("--live", help="Show hosts, packets, states and books as they change.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only what did not pass.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Every step and check.")]
Ended = Annotated[bool, typer.Option("--progress", help="With --json, too: how each scenario ended, on stderr.")]
Queue = Annotated[str, typer.Option("--queue", metavar="NAME", help="netlink or netfilterqueue.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="For a scenario and family; 0: none.")]
Family = Annotated[str, typer.Option("--family", metavar="FAMILY", help="Only ipv4, or only ipv6.")]
Report = Annotated[
    str, typer.Option("--report", metavar="FOLDER", help="Write trace, capture, JUnit and HTML report there.")
]
Full = Annotated[bool, typer.Option("--full", help="The long version of scenarios that have one.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Under the schedule of this number.")]
Schedules = Annotated[int, typer.Option("--schedules", metavar="K", help="Under so many schedules, from --seed on.")]
Verifier = Annotated[str, typer.Option("--verifier", metavar="LEVEL", help="Watch drivers: off, normal or full.")]
OnFinding = Annotated[str, typer.Option("--on-finding", metavar="WHAT", help="report, fail or raise.")]
TraceFile = Annotated[Path, typer.Argument(metavar="FILE", help="trace.jsonl, or the folder of a report.")]
PacketNumber = Annotated[int, typer.Option("--packet", metavar="N", help="Only events of this packet.")]
Follow = Annotated[int, typer.Option("--follow", metavar="N", help="This packet over all hops, with its octets.")]
Lost = Annotated[bool, typer.Option("--lost", help="Packets that were not delivered, and why.")]
SameAs = Annotated[
    Path | None, typer.Option("--same-as", metavar="FILE", help="Say what went another way than in that trace.")
]
AtLayer = Annotated[str, typer.Option("--layer", metavar="NAME", help="Only at layers whose name contains this.")]
OfHandle = Annotated[int, typer.Option("--handle", metavar="N", help="Only what was injected by this handle.")]
OfHost = Annotated[str, typer.Option("--host", metavar="NAME", help="Only at this host.")]
OfBed = Annotated[int, typer.Option("--bed", metavar="N", help="Only of this bed.")]
OfKind = Annotated[str, typer.Option("--kind", metavar="NAME", help="Only such events: classify, verdict, wire, ...")]
Kinds = Annotated[
    list[str] | None, typer.Argument(metavar="KIND", help="faults, overload, soak, crash, fuzz; by default, all.")
]
Quick = Annotated[bool, typer.Option("--quick", help="A short version of each.")]
Seconds = Annotated[float | None, typer.Option("--seconds", metavar="N", help="Of the soak and the overload.")]
Kills = Annotated[int | None, typer.Option("--kills", metavar="N", help="Runs that are killed.")]
FuzzCases = Annotated[int | None, typer.Option("--cases", metavar="N", help="Hostile inputs.")]
Guided = Annotated[float, typer.Option("--guided", metavar="SECONDS", help="Of atheris, for each reader of octets.")]
Findings = Annotated[Path | None, typer.Option("--keep", metavar="FOLDER", help="Keep inputs that fail there.")]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="Only rows with this in their name.")]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FOLDER", help="Measure the scale, too; draw SVGs there.")]
MatrixParts = Annotated[
    list[str] | None, typer.Argument(metavar="WHAT", help="Rows (M7), scenarios (S13), layers; by default, all.")
]
QuickMatrix = Annotated[bool, typer.Option("--quick", help="About every fifth cell, in less than a minute.")]
EveryCell = Annotated[bool, typer.Option("--verbose", "-v", help="Every cell, and what was seen.")]
Cases = Annotated[bool, typer.Option("--cases", help="The acceptance cases, and who stands for them.")]


def run(
    targets: Targets = None,
    json: Json = False,
    list_only: ListOnly = False,
    jobs: Jobs = 1,
    keep: Keep = False,
    pause_on_failure: Pause = False,
    step: Step = False,
    live: Live = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    progress: Ended = False,
    queue: Queue = "",
    timeout: Timeout = 60.0,
    family: Family = "",
    full: Full = False,
    seed: Seed = None,
    schedules: Schedules = 0,
    verifier: Verifier = "full",
    on_finding: OnFinding = "fail",
    report: Report = "",
    rootless: Rootless = False,
) -> None:
    """Run scenarios on real traffic, in namespaces of their own."""
    if list_only:
        list_all(targets, json=json)
    from emulator.run.session import Wanted
    from emulator.run.session import run as run_wanted

    wanted = Wanted(
        json=json,
        jobs=jobs,
        keep=keep,
        pause_on_failure=pause_on_failure,
        step=step,
        live=live,
        verbosity=0 if quiet else 2 if verbose else 1,
        progress=progress,
        queue=queue,
        timeout=timeout or None,
        family=family,
        full=full,
        seed=seed or 0,
        schedules=schedules or int(seed is not None),
        verifier=verifier,
        on_finding=on_finding,
        report=report,
    )
    _leave(run_wanted(targets or (), wanted, before=lambda: _prepare("run", rootless=rootless)))


def list_all(targets: Targets = None, cases: Cases = False, json: Json = False) -> None:
    """List the scenarios, or the acceptance cases."""
    _leave(_function("emulator.run.listing", "run")(targets or (), sys.stdout, cases=cases, as_json=json))


def new(name: Name) -> None:
    """Write NAME.py: a callout and its scenario, to start from."""
    _leave(_function("emulator.run.starter", "run")(name, sys.stdout, folder=Path.cwd()))


def trace(
    file: TraceFile,
    packet: PacketNumber = 0,
    follow: Follow = 0,
    lost: Lost = False,
    same_as: SameAs = None,
    layer: AtLayer = "",
    handle: OfHandle = 0,
    host: OfHost = "",
    bed: OfBed = 0,
    kind: OfKind = "",
    json: Json = False,
) -> None:
    """Print the trace of a run, follow a packet, say where packets were lost, or compare two runs."""
    from emulator.evidence.tracecommand import Choice
    from emulator.evidence.tracecommand import run as run_choice

    choice = Choice(
        packet=packet, follow=follow, lost=lost, same_as=same_as, layer=layer, handle=handle, host=host, bed=bed,
        kind=kind, json=json,
    )  # fmt: skip
    _leave(run_choice(file, choice, sys.stdout))


def shell(scenario: Kept, host: InHost, command: Command = None) -> None:
    """Look into a host of a lab that is paused or kept."""
    _require_root("shell")
    _leave(_function("emulator.run.shell", "run")(scenario, host, command or ()))


def run_tests(arguments: ForPytest = None) -> None:
    """Run the linters and all tests."""
    from emulator.run import selftest

    _leave(selftest.run(arguments or (), out=sys.stderr))


def matrix(
    parts: MatrixParts = None,
    quick: QuickMatrix = False,
    json: Json = False,
    verbose: EveryCell = False,
    queue: Queue = "",
    rootless: Rootless = False,
) -> None:
    """Do what WFPSampler does at every layer, on real traffic, and score it."""
    from emulator.matrix.command import Asked
    from emulator.matrix.command import run as run_matrix

    asked = Asked(quick=quick, json=json, verbose=verbose, queue=queue)
    _leave(run_matrix(parts or (), asked, before=lambda: _require_root("matrix", rootless=rootless)))


def torture(
    kinds: Kinds = None,
    quick: Quick = False,
    json: Json = False,
    seconds: Seconds = None,
    kills: Kills = None,
    cases: FuzzCases = None,
    guided: Guided = 0.0,
    seed: Seed = None,
    keep: Findings = None,
) -> None:
    """Faults, floods, kills and hostile octets: 0 only if nothing was lost or left."""
    _prepare("torture")
    from emulator.torture.command import Asked, main

    asked = Asked(
        quick=quick, json=json, seconds=seconds, kills=kills, cases=cases, guided=guided, seed=seed, keep=keep
    )
    _leave(main(kinds or (), asked))


def bench(
    json: Json = False,
    quick: Quick = False,
    only: Only = None,
    plot: Plot = None,
) -> None:
    """Measure ours against its peers, in turns; 0 only if every goal was met."""
    _require_root("bench")
    from emulator.bench.command import Asked, main

    _leave(main(Asked(json=json, quick=quick, only=tuple(only or ()), plot=plot)))


def build() -> None:
    """Compile the modules that every packet meets; they run without, but slower."""
    _leave(import_module("emulator.run.building").run(sys.stdout))


def doctor(json: Json = False, rootless: Rootless = False) -> None:
    """Say what this kernel lacks, and what that means."""
    _require_root("doctor", rootless=rootless)
    from emulator.run import doctor as examination

    _leave(examination.report(sys.stdout, json=json))


def clean(json: Json = False) -> None:
    """Remove what dead runs left; living ones stay."""
    _require_root("clean")
    from emulator.run import cleaning

    _leave(cleaning.report(sys.stdout, json=json))


def contract(groups: Groups = None, json: Json = False, uncovered: Uncovered = False) -> None:
    """List the API's rules, and the tests that prove them."""
    from emulator.contract.rules import main_report

    _leave(main_report(json, groups or (), uncovered))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command that `arguments` (by default the process's own) name; leave with its exit status.

    Raises only SystemExit, unless there is a bug: what Linux refused and what a callout did wrong end as
    one line and status 1.
    """
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    try:
        _application()(args=None if arguments is None else list(arguments), prog_name="wfplab")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        status = _status(error)
        if status is None:
            raise
        if _unwritable(error):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered has nowhere to go
        typer.echo(f"wfplab: {error}", err=True)
        sys.exit(status)
    finally:
        _give_back()
    sys.exit(0)


def _application() -> typer.Typer:
    application = typer.Typer(
        # Without these typer imports rich, which costs more than everything else here together.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    application.callback()(_common)
    for command in (run, trace, new, matrix, torture, bench, build, doctor, clean, contract):
        application.command()(command)
    application.command("list")(list_all)
    application.command("shell", context_settings={"ignore_unknown_options": True})(shell)
    application.add_typer(_vm_application(), name="vm")
    # Options that are not ours are pytest's.
    application.command("test", context_settings={"ignore_unknown_options": True})(run_tests)
    return application


def _vm_application() -> typer.Typer:
    from emulator.vm.commands import application

    return application()


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"wfplab {version('wfplab')}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run Windows Filtering Platform callouts against real traffic, on Linux."""


def _require_root(command: str, *, rootless: bool | None = None) -> None:
    """Leave unless this is root, or may become it in a namespace of its own; None: the command cannot do that."""
    if rootless:
        from netns.rootless import enter

        enter()
    if os.geteuid() != 0:
        from emulator.checkout import source_tree

        how = f"{'./' if source_tree() is not None else ''}wfplab {command}"
        other = f", or {how} --rootless" if rootless is not None else ""
        typer.echo(f"wfplab: `{command}` needs root: sudo {how}{other}", err=True)
        _leave(CANNOT_RUN)


def _prepare(command: str, *, rootless: bool | None = None) -> None:
    """As `_require_root`; what labs do not need of root's power is then given up."""
    _require_root(command, rootless=rootless)
    from netns.capabilities import LABS, keep

    keep(LABS)


def _function(module: str, name: str) -> Callable[..., int]:
    return cast(Callable[..., int], getattr(import_module(module), name))


def _leave(status: int) -> NoReturn:
    raise typer.Exit(status)


def _status(error: Exception) -> int | None:
    """The exit status for what the user, a callout or Linux did wrong; None for a bug."""
    from emulator.errors import WfpError
    from emulator.run.loading import BadTarget
    from netns.errors import LabError, MissingFeature, NotPermitted

    if isinstance(error, BadTarget):
        return WRONG_USAGE
    if isinstance(error, NotPermitted | MissingFeature):
        return CANNOT_RUN
    return FAILED if isinstance(error, LabError | WfpError) or _unwritable(error) else None


def _unwritable(error: Exception) -> bool:
    """Whether standard output is full, or nobody reads it any more."""
    return type(error) in (OSError, BrokenPipeError) and getattr(error, "errno", 0) in (errno.ENOSPC, errno.EPIPE)


def _give_back() -> None:
    from emulator.checkout import give_back, source_tree

    root = source_tree()
    if root is not None:
        give_back(root)
