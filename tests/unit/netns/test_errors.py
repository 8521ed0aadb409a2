from __future__ import annotations

import errno

import pytest

from netns.errors import (
    KernelRefused,
    LabError,
    MissingFeature,
    NotPermitted,
    ProgramFailed,
    ProgramTimedOut,
    refused,
)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES])
def test_a_lack_of_privilege_says_to_use_root(code: int) -> None:
    error = refused("making a namespace", OSError(code, "no"))
    assert isinstance(error, NotPermitted)
    assert "making a namespace" in str(error)
    assert "root" in str(error)


def test_any_other_refusal_names_the_action_and_the_code() -> None:
    error = refused("adding a route", OSError(errno.ENETUNREACH, "no"))
    assert isinstance(error, KernelRefused)
    assert error.code == errno.ENETUNREACH
    assert "adding a route" in str(error)
    assert "ENETUNREACH" in str(error)


def test_a_failed_program_is_shown_as_typed_with_what_it_said() -> None:
    error = ProgramFailed(["nft", "add it"], 1, "bad rule\n")
    assert str(error) == "`nft 'add it'` failed with status 1; it said: bad rule"


def test_a_signal_is_told_from_a_status() -> None:
    assert "signal 11" in str(ProgramFailed(["x"], -11))


def test_long_output_is_cut_at_its_front() -> None:
    text = str(ProgramFailed(["x"], 1, "a" * 10_000 + "the end"))
    assert text.endswith("the end")
    assert len(text) < 3000


def test_a_time_out_is_a_failed_program_and_names_the_seconds() -> None:
    error = ProgramTimedOut(["sleep", "9"], 0.5)
    assert isinstance(error, ProgramFailed)
    assert "0.5 s" in str(error)
    assert isinstance(error, LabError)


def test_a_missing_feature_names_itself_who_needs_it_and_the_way_round() -> None:
    text = str(MissingFeature("nft queue", needed_by=("forward", "stream"), fallback="iptables"))
    assert "nft queue" in text
    assert "forward, stream" in text
    assert "iptables" in text
    assert "doctor" in str(MissingFeature("netem"))
