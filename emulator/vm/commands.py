"""The commands of `wfplab vm`: arguments in, exit status out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from emulator.vm import MEMORY_MIB, MINUTES

if TYPE_CHECKING:
    from emulator.vm.work import Wishes

ForPytest = Annotated[list[str] | None, typer.Argument(help="For pytest, which then runs alone.")]
ForRun = Annotated[list[str] | None, typer.Argument(help="For `wfplab run`: scenarios; all, when none is named.")]
Images = Annotated[list[str] | None, typer.Argument(help="Kernels; by default, the first one. `all` for all.")]
Kernels = Annotated[
    list[str] | None, typer.Option("--kernel", help="A name from `vm kernels`, or `all`; can be given again.")
]
Acceleration = Annotated[
    Literal["auto", "kvm", "tcg"], typer.Option("--accel", help="auto: KVM, if a trial boot works.")
]
Minutes = Annotated[float, typer.Option(help="How long one guest may take.", min=0.1)]
Memory = Annotated[int, typer.Option(help="Of a guest, in MiB.", min=256)]
Anew = Annotated[bool, typer.Option("--anew", help="Also those that are current.")]

PASSED_ON = {"ignore_unknown_options": True}


def application() -> typer.Typer:
    """The commands, to be added to an application."""
    commands = typer.Typer(
        rich_markup_mode=None, no_args_is_help=True, help="The lab in a throw-away virtual machine, on stock kernels."
    )
    commands.command("test", context_settings=PASSED_ON)(run_tests)
    commands.command("run", context_settings=PASSED_ON)(run)
    commands.command()(doctor)
    commands.command()(kernels)
    commands.command()(build)
    return commands


def run_tests(
    arguments: ForPytest = None,
    kernel: Kernels = None,
    accel: Acceleration = "auto",
    minutes: Minutes = MINUTES,
    memory: Memory = MEMORY_MIB,
) -> None:
    """Run the lab suite in a guest, with every feature required."""
    from emulator.vm import work

    _leave(work.test(arguments or (), _wishes(kernel, accel, minutes, memory), sys.stderr))


def run(
    arguments: ForRun = None,
    kernel: Kernels = None,
    accel: Acceleration = "auto",
    minutes: Minutes = MINUTES,
    memory: Memory = MEMORY_MIB,
) -> None:
    """Run scenarios in a guest."""
    from emulator.vm import work

    _leave(work.run(arguments or (), _wishes(kernel, accel, minutes, memory), sys.stderr))


def doctor(
    kernel: Kernels = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
    accel: Acceleration = "auto",
    minutes: Minutes = MINUTES,
    memory: Memory = MEMORY_MIB,
) -> None:
    """Say what a kernel lacks, and what that means."""
    from emulator.vm import work

    _leave(work.doctor(["--json"] if json else [], _wishes(kernel, accel, minutes, memory), sys.stderr))


def kernels() -> None:
    """List the kernels that can be booted."""
    from emulator.vm import work

    _leave(work.kernels(sys.stdout))


def build(names: Images = None, anew: Anew = False) -> None:
    """Build images ahead of their first use."""
    from emulator.vm import work

    _leave(work.build(names or (), sys.stderr, anew=anew))


def _wishes(kernel: list[str] | None, accel: str, minutes: float, memory: int) -> Wishes:
    from emulator.vm.machine import Size
    from emulator.vm.work import Wishes

    return Wishes(tuple(kernel or ()), accel, minutes, Size(memory_mib=memory))


def _leave(status: int) -> NoReturn:
    raise typer.Exit(status)
