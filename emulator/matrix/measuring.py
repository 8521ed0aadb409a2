"""Which measurement a cell gets, and what its end means."""

from __future__ import annotations

from collections.abc import Callable

from emulator.errors import WfpError
from emulator.matrix import injecting, proxying, segments, streams, streamverdicts, verdicts
from emulator.matrix.cells import FAILED, PASSED, UNMEASURED, Cell
from emulator.matrix.place import Place
from emulator.traffic import CanaryLost
from emulator.wfptypes import AddressFamily
from netns.errors import LabError, MissingFeature, NotPermitted

_FAMILIES = {"ipv4": AddressFamily.INET, "ipv6": AddressFamily.INET6}
_BY_SCENARIO: dict[str, Callable[[Place, Cell, AddressFamily], str]] = {
    "S1": verdicts.measure_verdict, "S2": verdicts.measure_random, "S3": verdicts.measure_look,
    "S8": streams.measure_stream, "S9": streams.measure_stream, "S12": proxying.measure_contexts,
    "S13": proxying.measure_proxy,
}  # fmt: skip
_BY_TCP = ("STREAM", "STREAM_PACKET")


def measure(place: Place, cell: Cell) -> bool:
    """Measure a cell and note in it what it came to; False when the place should not be used again.

    Raises only what ends the whole run.
    """
    try:
        cell.measured = _measured(place, cell, _FAMILIES[cell.family])
    except injecting.Unlike as error:
        cell.status, cell.reason = FAILED, str(error)
    except (MissingFeature, NotPermitted, CanaryLost) as error:
        cell.status, cell.reason = UNMEASURED, str(error)
    except (LabError, WfpError, OSError, RuntimeError) as error:
        cell.status, cell.reason = FAILED, f"{type(error).__name__}: {error}"
    else:
        cell.status = PASSED if cell.measured else UNMEASURED
    return cell.status == PASSED


def _measured(place: Place, cell: Cell, family: AddressFamily) -> str:
    if cell.scenario in ("S1", "S2", "S3") and cell.layer in _BY_TCP:
        return streamverdicts.measure_stream_verdict(place, cell, family)
    if cell.scenario in _BY_SCENARIO:
        return _BY_SCENARIO[cell.scenario](place, cell, family)
    told = []
    if cell.protocols != ("tcp",):
        told.append(injecting.measure_packets(place, cell, family))
    if "tcp" in cell.protocols:
        told.append(segments.measure_segments(place, cell, family))
    return "; ".join(filter(None, told))
