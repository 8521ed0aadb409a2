"""The names of the edge: arguments, versions, and the page that lists them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from emulator.core import Core
from emulator.fwpmk import Fwpmk
from emulator.fwpsk import Fwpsk
from emulator.wdk import STATUS_NOT_IMPLEMENTED
from emulator.wfptypes import WindowsVersion

SIGNATURES = """
FwpsInjectionHandleCreate0 addressFamily flags
FwpsInjectionHandleDestroy0 injectionHandle
FwpsQueryPacketInjectionState0 injectionHandle netBufferList
FwpsInjectNetworkSendAsync0 injectionHandle injectionContext flags compartmentId netBufferList completionFn
    completionContext
FwpsInjectNetworkReceiveAsync0 injectionHandle injectionContext flags compartmentId interfaceIndex subInterfaceIndex
    netBufferList completionFn completionContext
FwpsInjectTransportSendAsync0 injectionHandle injectionContext endpointHandle flags sendArgs addressFamily
    compartmentId netBufferList completionFn completionContext
FwpsInjectTransportSendAsync1 injectionHandle injectionContext endpointHandle flags sendArgs addressFamily
    compartmentId netBufferList completionFn completionContext
FwpsInjectTransportReceiveAsync0 injectionHandle injectionContext reserved flags addressFamily compartmentId
    interfaceIndex subInterfaceIndex netBufferList completionFn completionContext
FwpsInjectForwardAsync0 injectionHandle injectionContext flags addressFamily compartmentId interfaceIndex
    netBufferList completionFn completionContext
FwpsAllocateCloneNetBufferList0 originalNetBufferList netBufferListPoolHandle netBufferPoolHandle allocateCloneFlags
FwpsAllocateDeepCloneNetBufferList0 originalNetBufferList netBufferListPoolHandle netBufferPoolHandle
    allocateCloneFlags
FwpsFreeCloneNetBufferList0 netBufferList freeCloneFlags
FwpsAllocateNetBufferAndNetBufferList0 poolHandle contextSize contextBackFill mdlChain dataOffset dataLength
FwpsFreeNetBufferList0 netBufferList
FwpsReferenceNetBufferList0 netBufferList intendToModify
FwpsDereferenceNetBufferList0 netBufferList dispatchLevel
FwpsConstructIpHeaderForTransportPacket0 netBufferList headerIncludeHeaderLength addressFamily sourceAddress
    remoteAddress nextProtocol endpointHandle controlData controlDataLength flags reserved interfaceIndex
    subInterfaceIndex
FwpsReassembleForwardFragmentGroup0 addressFamily fragmentGroupNblChain netBufferAndNetBufferListPoolHandle
    dataBackFill flags
FwpsGetPacketListSecurityInformation0 packetList queryFlags
FwpsCalloutRegister0 deviceObject callout
FwpsCalloutRegister1 deviceObject callout
FwpsCalloutRegister2 deviceObject callout
FwpsCalloutUnregisterById0 calloutId
FwpsCalloutUnregisterByKey0 calloutKey
FwpsFlowAssociateContext0 flowId layerId calloutId flowContext
FwpsFlowRemoveContext0 flowId layerId calloutId
FwpsFlowAbort0 flowId
FwpsNetBufferListGetTagForContext0
FwpsNetBufferListAssociateContext0 netBufferList layerId context contextTag providerGuid deviceObject notifyFn flags
FwpsNetBufferListAssociateContext1 netBufferList layerId context contextTag providerGuid deviceObject notifyFn flags
FwpsNetBufferListRetrieveContext0 netBufferList contextTag removeContext flags
FwpsNetBufferListRemoveContext0 netBufferList contextTag flags
"""
PARAMETERS = {words[0]: words[1:] for words in map(str.split, SIGNATURES.replace("\n    ", " ").split("\n")) if words}

NEWER = {
    "FwpsConstructIpHeaderForTransportPacket0": WindowsVersion.VISTA_SP1,
    "FwpsReassembleForwardFragmentGroup0": WindowsVersion.VISTA_SP1,
    "FwpsInjectTransportSendAsync1": WindowsVersion.WINDOWS_7,
    "FwpsCalloutRegister1": WindowsVersion.WINDOWS_7,
    "FwpsNetBufferListAssociateContext0": WindowsVersion.WINDOWS_7,
    "FwpsNetBufferListRetrieveContext0": WindowsVersion.WINDOWS_7,
    "FwpsNetBufferListRemoveContext0": WindowsVersion.WINDOWS_7,
    "FwpsCalloutRegister2": WindowsVersion.WINDOWS_8,
    "FwpsFlowAbort0": WindowsVersion.WINDOWS_8,
    "FwpsNetBufferListAssociateContext1": WindowsVersion.WINDOWS_8,
    "FwpsAllocateDeepCloneNetBufferList0": WindowsVersion.SERVER_2022_23H2,
}


def functions(edge: type, prefix: str) -> set[str]:
    return {name for name in dir(edge) if name.startswith(prefix)}


@pytest.mark.rule("NS-6")
@pytest.mark.parametrize("name", PARAMETERS)
def test_a_function_takes_the_documented_arguments_in_their_order(name: str) -> None:
    assert list(inspect.signature(getattr(Fwpsk, name)).parameters)[1:] == PARAMETERS[name]


@pytest.mark.rule("HC-3")
def test_a_name_without_a_version_is_the_same_function() -> None:
    numbered = {name for name in functions(Fwpsk, "Fwps") if name[-1].isdigit()}
    versioned = {name[:-1] for name in numbered if name[:-1] + "1" in numbered}
    for name in numbered - {base + digit for base in versioned for digit in "012"}:
        assert getattr(Fwpsk, name[:-1]) is getattr(Fwpsk, name)
    assert versioned == {
        "FwpsInjectTransportSendAsync", "FwpsCalloutRegister", "FwpsNetBufferListAssociateContext"
    }  # fmt: skip


@pytest.mark.rule("HC-3", "VE-1")
@pytest.mark.parametrize(
    ("profile", "digits"),
    [(WindowsVersion.VISTA, "000"), (WindowsVersion.WINDOWS_7, "110"), (WindowsVersion.WINDOWS_8, "121")],
)
def test_a_name_without_a_version_is_the_newest_of_the_profile(profile: WindowsVersion, digits: str) -> None:
    fwpsk = Fwpsk(Core(lambda injection: None, profile=profile))
    assert fwpsk.FwpsInjectTransportSendAsync.__name__ == f"FwpsInjectTransportSendAsync{digits[0]}"
    assert fwpsk.FwpsCalloutRegister.__name__ == f"FwpsCalloutRegister{digits[1]}"
    assert fwpsk.FwpsNetBufferListAssociateContext.__name__ == f"FwpsNetBufferListAssociateContext{digits[2]}"


@pytest.mark.rule("VE-1")
@pytest.mark.parametrize("profile", WindowsVersion)
@pytest.mark.parametrize("name", sorted(set(PARAMETERS) - {"FwpsNetBufferListGetTagForContext0"}))
def test_a_function_newer_than_the_profile_is_not_implemented(name: str, profile: WindowsVersion) -> None:
    core = Core(lambda injection: None, profile=profile)
    core.readiness = lambda: None
    fwpsk = Fwpsk(core)
    result = getattr(fwpsk, name)(*[None if word not in NUMBERS else 0 for word in PARAMETERS[name]])
    status = result[0] if isinstance(result, tuple) else result
    newer = NEWER.get(name, WindowsVersion.VISTA) > profile
    assert (status == STATUS_NOT_IMPLEMENTED) is newer
    if newer:
        assert fwpsk.refused is not None
        assert name in str(fwpsk.refused)


NUMBERS = {
    "addressFamily", "flags", "compartmentId", "interfaceIndex", "subInterfaceIndex", "allocateCloneFlags",
    "freeCloneFlags", "contextSize", "contextBackFill", "dataOffset", "dataLength", "headerIncludeHeaderLength",
    "nextProtocol", "controlDataLength", "dataBackFill", "queryFlags", "calloutId", "flowId", "layerId",
    "flowContext", "contextTag",
}  # fmt: skip


@pytest.mark.rule("VE-1")
def test_the_default_profile_is_windows_8() -> None:
    assert Core(lambda injection: None).profile == WindowsVersion.WINDOWS_8


def test_the_page_of_functions_lists_exactly_what_there_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "functions.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| (.*?) \|$", page, re.MULTILINE)
    listed = dict(rows)
    assert len(listed) == len(rows), "a function is listed twice"
    emulated = {name for name, where in listed.items() if not where.startswith("**not**")}
    numbered = {name for name in functions(Fwpsk, "Fwps") | functions(Fwpmk, "Fwpm") if name[-1].isdigit()}
    assert {name for name in emulated if name.startswith("Fwp")} == numbered
