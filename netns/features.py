"""Which features the running kernel and the installed programs really have, found by using them.

Everything happens in a lab of its own that is gone afterwards. Configuration files are not believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netns.errors import LabError, MissingFeature, NotPermitted, ProgramFailed
from netns.process import find_program

if TYPE_CHECKING:
    from netns.catalogue import Probe
    from netns.probes import Bench

NAMESPACES, CABLES = "network namespaces", "veth pairs between namespaces"


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a path needs, and whether this machine has it."""

    name: str
    available: bool
    detail: str
    """Why not, or something worth knowing; may be empty."""
    needed_by: tuple[str, ...]
    """Paths: network, transport, forward, stream, lab."""
    fallback: str | None
    """What is done without it; None means that `needed_by` cannot work."""

    @property
    def is_fatal(self) -> bool:
        """Whether its absence stops something from working."""
        return not self.available and self.fallback is None

    def require(self) -> None:
        """Raise MissingFeature if it is not there."""
        if not self.available:
            raise MissingFeature(self.name, needed_by=self.needed_by, detail=self.detail, fallback=self.fallback)


Progress = Callable[[Feature], None]


def probe_all(progress: Progress | None = None) -> list[Feature]:
    """Try every feature, in well under 3 s; `progress` is told of each as soon as it is known.

    Without network namespaces nothing else can be tried: then all others are missing for that reason.
    Raises NotPermitted when not run as root.
    """
    from netns.catalogue import KERNEL, PROGRAMS

    found: list[Feature] = []

    def known(feature: Feature) -> None:
        found.append(feature)
        if progress is not None:
            progress(feature)

    for program in PROGRAMS:
        known(_program(program.name, program.needed_by, program.fallback))
    for feature in _kernel(KERNEL):
        known(feature)
    for feature in _rootless():
        known(feature)
    return found


def _rootless() -> Iterator[Feature]:
    """Whether root of one's own is to be had, and what there is not, where it is used."""
    from netns import rootless

    try:
        detail, available = rootless.possible(), True
    except MissingFeature as error:
        detail, available = error.detail, False
    yield Feature(rootless.FEATURE, available, detail, ("lab",), "only root can run labs")
    yield from (Feature(name, False, "", ("lab",), instead) for name, instead in rootless.restrictions())


def _program(name: str, needed_by: tuple[str, ...], fallback: str | None) -> Feature:
    try:
        detail, available = find_program(name), True
    except MissingFeature as error:
        detail, available = error.detail, False
    return Feature(f"program {name}", available, detail, needed_by, fallback)


def _kernel(probes: Sequence[Probe]) -> Iterator[Feature]:
    from netns.catalogue import EVERY_PATH
    from netns.lab import Lab
    from netns.probes import Bench

    bench: Bench | None = None
    tried: list[Feature] = []
    try:
        with Lab() as lab:
            bench = Bench.build(lab)
            yield from (Feature(name, True, "", EVERY_PATH, None) for name in (NAMESPACES, CABLES))
            for probe in probes:
                tried.append(_tried(probe, bench))
                yield tried[-1]
    except NotPermitted:
        raise
    except LabError as error:
        if bench is not None:
            raise  # a fault in clearing up is one to be seen
        why = str(error)
        yield from (Feature(name, False, why, EVERY_PATH, None) for name in (NAMESPACES, CABLES))
        for probe in probes:
            tried.append(Feature(probe.name, False, f"not tried: {why}", probe.needed_by, probe.fallback))
            yield tried[-1]
    yield from _either(tried)


def _tried(probe: Probe, bench: Bench) -> Feature:
    try:
        detail, available = probe.run(bench), True
    except ProgramFailed as error:
        detail, available = (error.stderr.strip().splitlines() or [str(error)])[0], False
    except (LabError, OSError) as error:
        detail, available = str(error), False
    return Feature(probe.name, available, detail, probe.needed_by, probe.fallback)


def _either(tried: Sequence[Feature]) -> Iterator[Feature]:
    """Of what two programs can do, whether one of them can: each by itself is no loss."""
    from netns.catalogue import EITHER

    for name, needed_by in EITHER.items():
        ways = [feature for feature in tried if feature.name.startswith(f"{name} by ")]
        having = [feature.name.removeprefix(f"{name} ") for feature in ways if feature.available]
        yield Feature(name, bool(having), " and ".join(having), needed_by, None)
