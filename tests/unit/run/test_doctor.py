"""What `wfplab doctor` says of features that are there, replaced and missing."""

from __future__ import annotations

import io
import json

import pytest

from emulator import compiled
from emulator.run import doctor
from netns import features
from netns.features import Feature

THERE = Feature("veth", True, "", ("lab",), None)
KNOWN = Feature("program nft", True, "/usr/sbin/nft", ("stream",), "iptables")
REPLACED = Feature("nft queue", False, "no such expression", ("transport", "forward"), "iptables -j NFQUEUE")
MISSING = Feature("TPROXY", False, "", ("stream",), None)


CORE = "the core that every packet meets: carved in stone"


def report(monkeypatch: pytest.MonkeyPatch, found: list[Feature], *, json: bool) -> tuple[int, str]:
    monkeypatch.setattr(features, "probe_all", lambda: found)
    monkeypatch.setattr(compiled, "told", lambda: "carved in stone")
    out = io.StringIO()
    return doctor.report(out, json=json), out.getvalue()


def test_with_fallbacks_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = report(monkeypatch, [THERE, KNOWN, REPLACED], json=False)
    assert status == 0
    assert text.splitlines() == [
        "yes      veth",
        "yes      program nft  /usr/sbin/nft",
        "instead  nft queue    iptables -j NFQUEUE (no such expression)",
        CORE,
        "ready",
    ]


def test_what_nothing_replaces_is_named_with_what_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = report(monkeypatch, [THERE, MISSING], json=False)
    assert status == 1
    assert text.splitlines() == [
        "yes      veth",
        "MISSING  TPROXY  cannot run without it: stream",
        CORE,
        "not ready: lacks TPROXY",
    ]


@pytest.mark.parametrize(("found", "status"), [([REPLACED], 0), ([REPLACED, MISSING], 1)])
def test_as_json_it_is_one_document(
    found: list[Feature], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    got, text = report(monkeypatch, found, json=True)
    assert got == status
    document = json.loads(text)
    assert document["ready"] is (status == 0)
    assert document["core"] == "carved in stone"
    assert document["features"][0] == {
        "name": "nft queue",
        "available": False,
        "detail": "no such expression",
        "needed_by": ["transport", "forward"],
        "fallback": "iptables -j NFQUEUE",
    }
    assert len(document["features"]) == len(found)
