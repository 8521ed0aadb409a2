"""What the enumerations do besides being numbers; the numbers are compared in `test_wdk.py`."""

from __future__ import annotations

import socket

import pytest

from emulator.metadatabits import MetadataField
from emulator.wfptypes import (
    DEFAULT_INJECTION_TYPES,
    AddressFamily,
    ConditionFlag,
    InjectionType,
    WindowsVersion,
)


@pytest.mark.rule("HC-4")
def test_the_address_families_are_windows_numbers() -> None:
    assert {family.name: int(family) for family in AddressFamily} == {"UNSPEC": 0, "INET": 2, "INET6": 23}
    assert int(AddressFamily.INET6) != int(socket.AF_INET6)


def test_a_family_knows_its_ip_version_and_back() -> None:
    assert [family.version for family in AddressFamily] == [None, 4, 6]
    assert [AddressFamily.of_version(version) for version in (4, 6)] == [AddressFamily.INET, AddressFamily.INET6]
    with pytest.raises(KeyError):
        AddressFamily.of_version(5)


def test_no_types_stand_for_transport_stream_and_forward() -> None:
    assert DEFAULT_INJECTION_TYPES == 0x0B
    assert not DEFAULT_INJECTION_TYPES & (InjectionType.NETWORK | InjectionType.L2)


def test_one_number_means_different_things_in_two_words() -> None:
    assert int(MetadataField.TRANSPORT_HEADER_SIZE) == int(ConditionFlag.IS_REASSEMBLED)


def test_later_windows_compares_greater() -> None:
    ascending = [
        WindowsVersion.VISTA,
        WindowsVersion.VISTA_SP1,
        WindowsVersion.WINDOWS_7,
        WindowsVersion.WINDOWS_8,
        WindowsVersion.SERVER_2022_23H2,
    ]
    assert sorted(WindowsVersion) == ascending
