# ruff: noqa: N801, N815  the names are the header's
"""The structures and keys of fwpmtypes.h and fwpmk.h that a driver adds its filters with.

Keys of layers and conditions are looked up by name, as

    from emulator.edge.fwpmk_structs import FWPM_LAYER_OUTBOUND_TRANSPORT_V4, FWPM_CONDITION_IP_REMOTE_PORT

A name the header does not have raises ImportError.
Differs from Windows: those keys are no GUIDs but a layer's run-time id and a field's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from emulator.edge.fwptypes import FWP_CONDITION_VALUE0, FWP_VALUE0
from emulator.filters import INSPECTION, UNIVERSAL, MatchType
from emulator.layerfields import FIELD_ALIASES, FIELDS
from emulator.layerids import Layer
from emulator.wfptypes import Action

FWPM_SESSION_FLAG_DYNAMIC = 0x1
FWPM_TXN_READ_ONLY = 0x1
FWPM_SUBLAYER_FLAG_PERSISTENT = 0x1
FWPM_CALLOUT_FLAG_PERSISTENT = 0x10000
FWPM_CALLOUT_FLAG_USES_PROVIDER_CONTEXT = 0x20000
FWPM_CALLOUT_FLAG_REGISTERED = 0x40000
FWPM_FILTER_FLAG_NONE = 0x0
FWPM_FILTER_FLAG_PERSISTENT = 0x1
FWPM_FILTER_FLAG_BOOTTIME = 0x2
FWPM_FILTER_FLAG_HAS_PROVIDER_CONTEXT = 0x4
FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT = 0x8
FWPM_FILTER_FLAG_PERMIT_IF_CALLOUT_UNREGISTERED = 0x10
FWPM_FILTER_FLAG_DISABLED = 0x20
FWPM_FILTER_FLAG_INDEXED = 0x40

RPC_C_AUTHN_WINNT = 10
RPC_C_AUTHN_DEFAULT = 0xFFFFFFFF

FWPM_SUBLAYER_UNIVERSAL = UNIVERSAL.key
FWPM_SUBLAYER_INSPECTION = INSPECTION.key


@dataclass
class FWPM_DISPLAY_DATA0:
    """What people read."""

    name: str = ""
    description: str = ""


@dataclass
class FWPM_SESSION0:
    """What a session is opened with."""

    sessionKey: UUID | None = None
    displayData: FWPM_DISPLAY_DATA0 = field(default_factory=FWPM_DISPLAY_DATA0)
    flags: int = 0
    txnWaitTimeoutInMSec: int = 0


@dataclass
class FWPM_SUBLAYER0:
    """A sublayer; the heavier is asked first."""

    subLayerKey: UUID | None = None
    displayData: FWPM_DISPLAY_DATA0 = field(default_factory=FWPM_DISPLAY_DATA0)
    flags: int = 0
    providerKey: UUID | None = None
    providerData: bytes = b""
    weight: int = 0


@dataclass
class FWPM_CALLOUT0:
    """A callout as filters name it."""

    calloutKey: UUID | None = None
    displayData: FWPM_DISPLAY_DATA0 = field(default_factory=FWPM_DISPLAY_DATA0)
    flags: int = 0
    providerKey: UUID | None = None
    providerData: bytes = b""
    applicableLayer: int | None = None
    calloutId: int = 0


@dataclass
class FWPM_FILTER_CONDITION0:
    """One condition: a field, how it is compared, and with what."""

    fieldKey: str = ""
    matchType: int = MatchType.EQUAL
    conditionValue: FWP_CONDITION_VALUE0 = field(default_factory=FWP_CONDITION_VALUE0)


@dataclass
class FWPM_ACTION0:
    """What a filter does; `calloutKey` counts for the FWP_ACTION_CALLOUT_… types."""

    type: int = Action.BLOCK
    calloutKey: UUID | None = None


@dataclass
class FWPM_FILTER0:
    """A filter.  Of numFilterConditions None, all of filterCondition counts."""

    filterKey: UUID | None = None
    displayData: FWPM_DISPLAY_DATA0 = field(default_factory=FWPM_DISPLAY_DATA0)
    flags: int = 0
    providerKey: UUID | None = None
    providerData: bytes = b""
    layerKey: int | None = None
    subLayerKey: UUID | None = None
    weight: FWP_VALUE0 = field(default_factory=FWP_VALUE0)
    numFilterConditions: int | None = None
    filterCondition: Sequence[FWPM_FILTER_CONDITION0] = ()
    action: FWPM_ACTION0 = field(default_factory=FWPM_ACTION0)
    rawContext: Any = 0
    reserved: Any = None
    filterId: int = 0
    effectiveWeight: FWP_VALUE0 = field(default_factory=FWP_VALUE0)


_LAYER = "FWPM_LAYER_"
_CONDITION = "FWPM_CONDITION_"
_FIELD_NAMES = frozenset(name for names in FIELDS.values() for name in names) | frozenset(FIELD_ALIASES)


def __getattr__(name: str) -> Any:
    if name.startswith(_LAYER) and name.removeprefix(_LAYER) in Layer.__members__:
        return Layer[name.removeprefix(_LAYER)]
    if name.startswith(_CONDITION) and name.removeprefix(_CONDITION) in _FIELD_NAMES:
        return name.removeprefix(_CONDITION)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    layers = [_LAYER + layer.name for layer in Layer]
    return sorted([*globals(), *layers, *(_CONDITION + name for name in _FIELD_NAMES)])
