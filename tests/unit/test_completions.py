"""The completion function that drivers are given frees each list as it was made, whatever became of it."""

from __future__ import annotations

import pytest

from emulator.completions import Completions
from emulator.ntstatus import NtStatus
from tests.unit.fakehost import FakeHost


@pytest.mark.rule("CF-4", "NB-5", "NB-8", "NB-9")
@pytest.mark.parametrize("status", [NtStatus.SUCCESS, NtStatus.DATA_NOT_ACCEPTED])
def test_clones_and_created_lists_are_freed_whatever_the_status(status: NtStatus) -> None:
    host = FakeHost()
    handle, done = host.handle(), Completions(host.ownership)
    original = host.created()
    handle.network_send(host.created(), done)
    handle.network_send(host.ownership.clone(original), done)
    for injection in list(host.submitted):
        handle.complete(injection, status)
    assert done.counted() == {status.name: 2}
    assert list(host.ownership.live) == [original]
    assert list(host.core.violations) == []


@pytest.mark.rule("GE-2", "NB-9")
def test_what_was_never_injected_is_given_back_by_hand() -> None:
    host = FakeHost()
    done = Completions(host.ownership)
    original = host.created()
    done.free(host.ownership.clone(original))
    done.free(original)
    assert host.core.leaks() == []
    assert done.statuses == []
