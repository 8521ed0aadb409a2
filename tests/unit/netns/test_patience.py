"""The factor of all time-outs."""

from __future__ import annotations

import pytest

from netns.patience import FACTOR, patient


@pytest.mark.parametrize(("told", "seconds"), [(None, 2.0), ("", 2.0), ("10", 20.0), ("0.5", 1.0)])
def test_a_time_out_is_as_long_as_the_factor_says(
    told: str | None, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FACTOR, raising=False)
    if told is not None:
        monkeypatch.setenv(FACTOR, told)
    assert patient(2.0) == seconds


@pytest.mark.parametrize("told", ["0", "-1", "inf", "nan", "ten"])
def test_a_factor_that_is_none_is_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FACTOR, told)
    with pytest.raises(ValueError, match=told):
        patient(2.0)
