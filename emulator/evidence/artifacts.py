"""What a run leaves in a folder: trace.jsonl, capture.pcapng, junit.xml and report.html, which tell the same.

    evidence = Evidence.create(directory)
    evidence.begin(bed, scenario, family)      # the bed runs
    evidence.end(bed, status, books)           # its hosts are closed, its namespaces still there
    evidence.close(results)

Worker processes join by `Evidence(parts)`.  Nothing gets its name before it is complete, and a report of an
earlier run is removed first, so what is there is whole and of this run.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from emulator.evidence import traceevents as event
from emulator.evidence.bedtrace import PACKET_TO_COME, write_bed
from emulator.evidence.capturing import Recorder, keep_stamping
from emulator.evidence.tally import Tally
from emulator.evidence.traceevents import AnyEvent, TraceWriter, read, read_file
from emulator.run.results import Result

if TYPE_CHECKING:
    from emulator.topology import Bed

TRACE, CAPTURE, JUNIT, REPORT = NAMES = ("trace.jsonl", "capture.pcapng", "junit.xml", "report.html")
PARTS = ".parts-"


class Evidence:
    """Collects what a run shows; one that created the folder also puts it together."""

    def __init__(self, parts: str | Path, *, owned: bool = False) -> None:
        """Join the run that keeps its parts there; whoever makes it closes or discards it."""
        self.parts = Path(parts)
        self._owned = owned
        self._stamping = keep_stamping()
        self.directory = self.parts.parent
        self._recorders: dict[Bed, tuple[Recorder, event.Bed]] = {}
        self._made = 0

    @classmethod
    def create(cls, directory: str | Path) -> Self:
        """Begin a run's evidence in a folder, made if need be; an earlier run's files in it go.

        Raises OSError: it cannot be written to.
        """
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            with suppress(FileNotFoundError):
                (folder / name).unlink()
        return cls(tempfile.mkdtemp(prefix=PARTS, dir=folder), owned=True)

    # -- one bed ----------------------------------------------------------------------------------------

    def begin(self, bed: Bed, scenario: str, family: str) -> None:
        """Record a bed from now on; raises LabError, OSError."""
        recorder = Recorder(bed)
        begun = event.Bed(
            time=recorder.began, scenario=scenario, family=family, picture=bed.picture, hosts=recorder.tracer.hosts
        )
        self._recorders[bed] = (recorder, begun)

    def end(self, bed: Bed, status: str, books: Mapping[str, Mapping[str, Any]], *, order: int = 0) -> None:
        """Write what a bed showed, which is over but not removed; one that was not begun is passed over.

        Beds come in the order of `order`, then of their ending.  Raises OSError.
        """
        recorder, begun = self._recorders.pop(bed, (None, None))
        if recorder is None or begun is None:
            return
        with recorder:
            recorder.stop()
            begun.links = _links(bed)
            self._made += 1
            name = f"{order:06d}-{os.getpid():08d}-{self._made:06d}.jsonl"
            with _whole(self.parts / name) as out:
                write_bed(TraceWriter(out), begun, recorder.file, status=status, books=books)

    # -- the whole run ----------------------------------------------------------------------------------

    def close(self, results: Sequence[Result]) -> dict[str, int]:
        """Put the files together, the report last; the counts that all of them tell.  Raises OSError."""
        from emulator.evidence.htmlreport import write_report
        from emulator.evidence.junit import write_junit

        try:
            with _whole(self.directory / TRACE) as out:
                counts = self._write_trace(out, results)
            with (self.directory / TRACE).open("rb") as trace:
                with _whole(self.directory / CAPTURE) as out:
                    write_capture(trace, out, counts)
                with _whole(self.directory / JUNIT) as out:
                    write_junit(out, results, counts)
                with _whole(self.directory / REPORT) as out:
                    trace.seek(0)
                    write_report(out, results, read_file(trace), counts)
        finally:
            self.discard()
        return counts

    def discard(self) -> None:
        """Stop recording; who created the folder also removes the parts.  Doing it twice is allowed."""
        self._stamping.close()
        for recorder, _ in self._recorders.values():
            recorder.close()
        self._recorders.clear()
        if self._owned:
            shutil.rmtree(self.parts, ignore_errors=True)

    def _write_trace(self, out: IO[bytes], results: Sequence[Result]) -> dict[str, int]:
        from importlib.metadata import version

        tally, writer = Tally(), TraceWriter(out)
        program = f"wfplab {version('wfplab')}"
        writer.write(event.Run(time=time.time_ns(), format=event.FORMAT, program=program, kernel=platform.release()))
        joined = Joined()
        for part in sorted(self.parts.glob("*.jsonl")):
            with part.open("rb") as lines:
                for seen in joined.renumbered(read(lines)):
                    tally.event(seen)
                    writer.write(seen)
        tally.results(results)
        writer.write(event.Summary(time=time.time_ns(), counts=tally.counts))
        return tally.counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()


class Joined:
    """Renumbers the beds and packets of parts, so that numbers are those of the whole run."""

    def __init__(self) -> None:
        self.beds = 0
        self._packets = 0

    def renumbered(self, events: Iterator[AnyEvent]) -> Iterator[AnyEvent]:
        """The events of the next bed."""
        self.beds += 1
        base = most = self._packets
        for seen in events:
            seen.bed = self.beds
            if seen.packet:
                most = max(most, base + seen.packet)
                seen.packet += base
            if isinstance(seen, event.Inject) and seen.cause:
                seen.cause += base
            if isinstance(seen, event.Fate):
                seen.others = [packet + base for packet in seen.others]
            elif isinstance(seen, event.Wire):
                seen.comment = seen.comment.replace(PACKET_TO_COME, f"packet {seen.packet}", 1)
            yield seen
        self._packets = most


def write_capture(trace: IO[bytes], out: IO[bytes], counts: Mapping[str, int]) -> None:
    """Write the frames of a trace in order of time, each with its comment.  Raises OSError, BadTrace."""
    from emulator.evidence.pcapng import PcapngWriter

    told = ", ".join(f"{number} {name}" for name, number in counts.items())
    writer = PcapngWriter(out, comment=f"wfplab: {told}")
    names: dict[int, str] = {}
    times, offsets = array("q"), array("q")
    trace.seek(0)
    for offset, seen in _with_offsets(trace):
        if isinstance(seen, event.Bed):
            names[seen.bed] = f"{seen.scenario} {seen.family}".strip()
        elif isinstance(seen, event.Wire):
            times.append(seen.time)
            offsets.append(offset)
    for number in sorted(range(len(times)), key=times.__getitem__):
        trace.seek(offsets[number])
        (frame,) = read([trace.readline()])
        assert isinstance(frame, event.Wire)
        interface = writer.interface(f"{frame.host} {frame.interface}", names.get(frame.bed, ""))
        writer.frame(
            interface, frame.time, frame.octets, length=frame.length, outgoing=frame.outgoing, comment=frame.comment
        )


def _with_offsets(trace: IO[bytes]) -> Iterator[tuple[int, AnyEvent]]:
    offset = 0
    for line in trace:
        (seen,) = read([line])
        yield offset, seen
        offset += len(line)


def _links(bed: Bed) -> list[list[str]]:
    """The cables between hosts: host, interface, host, interface."""
    names = {namespace: name for name, namespace in bed.lab.namespaces.items()}
    names.update({host.namespace: host.name for host in bed})
    return [
        [names.get(pair.a.namespace, "?"), pair.a.name, names.get(pair.b.namespace, "?"), pair.b.name]
        for pair in bed.lab.links
    ]


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only once everything in it was written, and is its folder's owner's."""
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            _give(out.fileno(), path.parent)
            os.fsync(out.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _give(descriptor: int, folder: Path) -> None:
    """Root's files belong to whom the folder belongs, and can be read as usual."""
    os.fchmod(descriptor, 0o644)
    owner = folder.stat()
    if os.geteuid() == 0 and (owner.st_uid, owner.st_gid) != (0, 0):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
