"""`wfplab clean`: removes what runs left behind that are dead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from netns.lease import Cleaned, Live


def report(out: TextIO, *, json: bool) -> int:
    """Remove the namespaces, processes and folders of dead runs, as root, and write to `out` what they were.

    Runs that live are listed, and not touched. Returns 0.
    Raises LabError when Linux refuses; what is left then is taken up by the next call.
    """
    from netns.lease import living, reap
    from netns.scratch import reap_folders

    cleaned, live, folders = reap(), living(), reap_folders()
    out.write(as_json(cleaned, live, folders) if json else as_text(cleaned, live, folders))
    return 0


def as_json(cleaned: Sequence[Cleaned], live: Sequence[Live], folders: Sequence[str] = ()) -> str:
    """One line: `{"cleaned": [...], "live": [...], "folders": [...]}`."""
    import msgspec

    return msgspec.json.encode({"cleaned": cleaned, "live": live, "folders": folders}).decode() + "\n"


def as_text(cleaned: Sequence[Cleaned], live: Sequence[Live], folders: Sequence[str] = ()) -> str:
    """A line for each run, or one that says that there was nothing."""
    lines = []
    for run in cleaned:
        names = ", ".join(run.namespaces) or "no namespaces"
        killed = f", killed {', '.join(map(str, run.processes))}" if run.processes else ""
        lines.append(f"removed run {run.run} (process {run.pid}, dead): {names}{killed}")
    lines += [f"removed the folder of a dead run: {path}" for path in folders]
    lines += [f"left alone run {run.run} (process {run.pid}, alive)" for run in live]
    return "\n".join(lines or ["nothing was left behind"]) + "\n"
