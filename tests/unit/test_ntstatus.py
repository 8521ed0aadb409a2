"""NT_SUCCESS and the spelling; the numbers themselves are compared in `test_wdk.py`."""

from __future__ import annotations

import ctypes

import pytest

from emulator.ntstatus import NtStatus, nt_success


@pytest.mark.rule("ER-4")
def test_informational_statuses_pass_nt_success_and_are_not_success() -> None:
    passing = {status for status in NtStatus if nt_success(status)}
    assert passing == {NtStatus.SUCCESS, NtStatus.PENDING, NtStatus.OBJECT_NAME_EXISTS}


@pytest.mark.parametrize("status", NtStatus)
def test_nt_success_is_the_sign_of_the_number_a_driver_holds(status: NtStatus) -> None:
    signed = ctypes.c_int32(status).value
    assert nt_success(status) is nt_success(signed) is (signed >= 0)


def test_a_status_knows_its_windows_name() -> None:
    assert NtStatus.FWP_INJECT_HANDLE_STALE.windows_name == "STATUS_FWP_INJECT_HANDLE_STALE"
