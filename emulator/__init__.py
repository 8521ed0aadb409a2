"""Windows Filtering Platform callouts, run against real kernel traffic between network namespaces.

Everything public is a name of this package: `from emulator import Callout, Pair, scenario`.  A name is
imported when it is first used, so that the package itself costs next to nothing.
"""

from typing import TYPE_CHECKING, Any

from emulator import compiled

compiled.use()  # before anything else is imported: some of that has a compiled twin

# Not when first used: whoever imported the module of this name would have put it in the function's place.
from emulator.scenario import scenario as scenario  # noqa: E402

if TYPE_CHECKING:
    from emulator.callout import Callout as Callout
    from emulator.callouts_stream import InlineEdit as InlineEdit
    from emulator.callouts_stream import OutOfBandEdit as OutOfBandEdit
    from emulator.callouts_stream import Worker as Worker
    from emulator.checks import Check as Check
    from emulator.checks import Checks as Checks
    from emulator.checksums import fix_checksums as fix_checksums
    from emulator.completions import Completions as Completions
    from emulator.deferred import Dpc as Dpc
    from emulator.deferred import ThreadedDpc as ThreadedDpc
    from emulator.deferred import WorkItem as WorkItem
    from emulator.driver import Driver as Driver
    from emulator.errors import WfpError as WfpError
    from emulator.expect import Like as Like
    from emulator.filters import Condition as Condition
    from emulator.filters import Filter as Filter
    from emulator.filters import MatchType as MatchType
    from emulator.fwpsk import Fwpsk as Fwpsk
    from emulator.handle import InjectionHandle as InjectionHandle
    from emulator.indication import Indication as Indication
    from emulator.injection import SendParams as SendParams
    from emulator.layerids import Layer as Layer
    from emulator.layers import layer_of as layer_of
    from emulator.metadatabits import MetadataField as MetadataField
    from emulator.netbuffer import Mdl as Mdl
    from emulator.netbuffer import NetBuffer as NetBuffer
    from emulator.netbuffer import NetBufferList as NetBufferList
    from emulator.ntstatus import NtStatus as NtStatus
    from emulator.octets import IpView as IpView
    from emulator.rewrite import udp_packet as udp_packet
    from emulator.rewrite import with_ends as with_ends
    from emulator.rewrite import with_payload as with_payload
    from emulator.scenario import Scenario as Scenario
    from emulator.stack import Stack as Stack
    from emulator.topology import Alone as Alone
    from emulator.topology import Bed as Bed
    from emulator.topology import Bridged as Bridged
    from emulator.topology import Empty as Empty
    from emulator.topology import Host as Host
    from emulator.topology import HostOptions as HostOptions
    from emulator.topology import Pair as Pair
    from emulator.topology import Routed as Routed
    from emulator.topology import TwoDrivers as TwoDrivers
    from emulator.traffic import Datagrams as Datagrams
    from emulator.traffic import Responder as Responder
    from emulator.traffic import Wire as Wire
    from emulator.wfptypes import Action as Action
    from emulator.wfptypes import AddressFamily as AddressFamily
    from emulator.wfptypes import FilterFlag as FilterFlag
    from emulator.wfptypes import InjectionState as InjectionState
    from emulator.wfptypes import InjectionType as InjectionType
    from emulator.wfptypes import WindowsVersion as WindowsVersion

_HOMES = {
    "callout": ("Callout",),
    "callouts_stream": ("InlineEdit", "OutOfBandEdit", "Worker"),
    "checks": ("Check", "Checks"),
    "checksums": ("fix_checksums",),
    "completions": ("Completions",),
    "deferred": ("Dpc", "ThreadedDpc", "WorkItem"),
    "driver": ("Driver",),
    "errors": ("WfpError",),
    "expect": ("Like",),
    "filters": ("Condition", "Filter", "MatchType"),
    "fwpsk": ("Fwpsk",),
    "handle": ("InjectionHandle",),
    "indication": ("Indication",),
    "injection": ("SendParams",),
    "layerids": ("Layer",),
    "layers": ("layer_of",),
    "metadatabits": ("MetadataField",),
    "netbuffer": ("Mdl", "NetBuffer", "NetBufferList"),
    "ntstatus": ("NtStatus",),
    "octets": ("IpView",),
    "rewrite": ("udp_packet", "with_ends", "with_payload"),
    "scenario": ("Scenario", "scenario"),
    "stack": ("Stack",),
    "topology": ("Alone", "Bed", "Bridged", "Empty", "Host", "HostOptions", "Pair", "Routed", "TwoDrivers"),
    "traffic": ("Datagrams", "Responder", "Wire"),
    "wfptypes": ("Action", "AddressFamily", "FilterFlag", "InjectionState", "InjectionType", "WindowsVersion"),
}
"""Which module has which public names."""

__all__ = [name for names in _HOMES.values() for name in names]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"emulator.{home}"), name)
            globals()[name] = value  # found at once the next time
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
