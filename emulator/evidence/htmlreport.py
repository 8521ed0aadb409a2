"""The report of a run: one HTML file that needs nothing else, not even a network.

Everything from packets, callouts and scenarios is text: escaped by the template, its invisible and
direction-turning characters shown as escapes, its octets as hexadecimal.  The page's own script is the only one
that its content security policy lets run.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from emulator.evidence.reportdata import CHECKS_MOST, LISTED_MOST, Gathering
from emulator.evidence.traceevents import AnyEvent, Place
from emulator.evidence.visible import visible
from emulator.run.results import FAILED, PASSED, UNMEASURED, Result

TEMPLATES = Path(__file__).parent / "templates"
MARKS = {PASSED: "✓", FAILED: "✕", UNMEASURED: "?"}
BADGES = {"passed": "✓", "absorbed": "○", "blocked": "✕", "failed": "✕"}
ADDRESSES_MOST = 6


def write_report(
    out: IO[bytes], results: Sequence[Result], events: Iterable[AnyEvent], counts: Mapping[str, int]
) -> None:
    """Write the page; the file stays its owner's.  Raises OSError, BadTrace."""
    gathered = Gathering(results).go(events)
    for piece in _template().generate(**_context(results, gathered, counts)):
        out.write(piece.encode("utf-8", "replace"))


def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Applied before escaping; what is marked as safe is a class of its own, and passes.
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    return environment.get_template("report.html.j2")


def _context(results: Sequence[Result], gathered: Gathering, counts: Mapping[str, int]) -> dict[str, Any]:
    from markupsafe import Markup

    script = (TEMPLATES / "report.js").read_text("utf-8")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    failed, unmeasured = counts[FAILED], counts[UNMEASURED]
    status = FAILED if failed else UNMEASURED if unmeasured or not results else PASSED
    began = gathered.run.time if gathered.run is not None else 0
    return {
        "results": sorted(results, key=lambda result: result.status == PASSED),
        "gathered": gathered,
        "counts": counts,
        "status": status,
        "verdict": _verdict(counts),
        "when": f"{datetime.fromtimestamp(min(began // 10**9, 1 << 36), UTC):%Y-%m-%d %H:%M:%S} UTC",
        "duration": f"{sum(result.seconds for result in results):.1f} s",
        "marks": MARKS,
        "badges": BADGES,
        "checks_most": CHECKS_MOST,
        "listed_most": LISTED_MOST,
        "span": span,
        "since": since,
        "addresses": addresses,
        "script": Markup(script),  # noqa: S704  our own files
        "script_hash": f"sha256-{digest}",
        "style": Markup((TEMPLATES / "report.css").read_text("utf-8")),  # noqa: S704
    }


def _verdict(counts: Mapping[str, int]) -> str:
    parts = [f"{counts[name]} {name}" for name in (FAILED, UNMEASURED) if counts[name]]
    return ", ".join([*parts, f"{counts[PASSED]} passed"]) if counts["scenarios"] else "nothing was run"


def span(nanoseconds: float) -> str:
    """A length of time in the unit that suits it."""
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def since(time: int, began: int) -> str:
    """A moment, in milliseconds after another."""
    return f"{(time - began) / 1e6:.3f}"


def addresses(host: Place) -> list[str]:
    """A host's addresses worth showing: link-local ones and loopback's only where there are no others."""
    plain = [text for text in host.addresses if not text.startswith(("fe80:", "127.", "::1"))]
    return (plain or host.addresses)[:ADDRESSES_MOST]
