"""`wfplab new` writes a file that can be loaded as it is, and never over another."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from emulator.run import starter
from emulator.run.loading import BadTarget, chosen


@pytest.mark.parametrize("name", ["redact", "redact.py"])
def test_the_file_has_one_scenario_of_that_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    out = io.StringIO()
    assert starter.run(name, out, folder=tmp_path) == 0
    assert "wfplab run redact.py" in out.getvalue()
    (item,) = chosen([str(tmp_path / "redact.py")])
    assert item.name == "redact"
    assert "NAME" not in (tmp_path / "redact.py").read_text()


def test_dashes_become_what_a_function_can_have(tmp_path: Path) -> None:
    starter.run("my-callout", io.StringIO(), folder=tmp_path)
    assert (tmp_path / "my_callout.py").is_file()


@pytest.mark.parametrize("name", ["", "1st", "a b", "../x", "class", "x.y.py", "/tmp/x"])
def test_a_name_that_no_function_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadTarget, match="cannot be a scenario's name"):
        starter.run(name, io.StringIO(), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("mine")
    with pytest.raises(BadTarget, match=r"mine.py exists; choose another name"):
        starter.run("mine", io.StringIO(), folder=tmp_path)
    assert (tmp_path / "mine.py").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadTarget, match="cannot be written"):
        starter.run("mine", io.StringIO(), folder=tmp_path / "none")
