"""What `wfplab clean` says of dead and living runs."""

from __future__ import annotations

import io
import json

import pytest

from emulator.run import cleaning
from netns import lease, scratch
from netns.lease import Cleaned, Live

DEAD = Cleaned(run="1a2b3c4d", pid=41, namespaces=("wfp-1a2b3c4d-a", "wfp-1a2b3c4d-b"), processes=(42, 43))
EMPTY = Cleaned(run="00000000", pid=44, namespaces=(), processes=())
LIVE = Live(run="5e6f7a8b", pid=45, namespaces=("wfp-5e6f7a8b-a",))


def report(
    monkeypatch: pytest.MonkeyPatch, cleaned: list[Cleaned], live: list[Live], folders: list[str], *, json: bool
) -> str:
    monkeypatch.setattr(lease, "reap", lambda: cleaned)
    monkeypatch.setattr(lease, "living", lambda: live)
    monkeypatch.setattr(scratch, "reap_folders", lambda: folders)
    out = io.StringIO()
    assert cleaning.report(out, json=json) == 0
    return out.getvalue()


def test_each_run_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report(monkeypatch, [DEAD, EMPTY], [LIVE], ["/tmp/wfplab-run-x"], json=False).splitlines() == [
        "removed run 1a2b3c4d (process 41, dead): wfp-1a2b3c4d-a, wfp-1a2b3c4d-b, killed 42, 43",
        "removed run 00000000 (process 44, dead): no namespaces",
        "removed the folder of a dead run: /tmp/wfplab-run-x",
        "left alone run 5e6f7a8b (process 45, alive)",
    ]


def test_nothing_found_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report(monkeypatch, [], [], [], json=False) == "nothing was left behind\n"


def test_as_json_it_is_one_document(monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(report(monkeypatch, [DEAD], [LIVE], ["/tmp/wfplab-run-x"], json=True)) == {
        "cleaned": [{
            "run": "1a2b3c4d", "pid": 41, "namespaces": ["wfp-1a2b3c4d-a", "wfp-1a2b3c4d-b"],
            "processes": [42, 43],
        }],
        "live": [{"run": "5e6f7a8b", "pid": 45, "namespaces": ["wfp-5e6f7a8b-a"]}],
        "folders": ["/tmp/wfplab-run-x"],
    }  # fmt: skip
