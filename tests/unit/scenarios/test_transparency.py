"""What TCP sent again is counted fairly, also while it goes on."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from emulator.scenarios import transparency

HOSTS = cast(Any, ("client", "server"))


class Restless:
    """A host that sends another something again, in vain, as often as somebody looks, while it is `at_work`."""

    def __init__(self, sender: str, kind: str) -> None:
        self.sender = sender
        self.at = sender if kind == "Tcp.TCPSynRetrans" else next(host for host in HOSTS if host != sender)
        self.kind = kind
        self.at_work = True
        self.found: dict[str, Counter[str]] = {host: Counter() for host in HOSTS}

    def counters(self, host: str) -> Counter[str]:
        told = self.found[host].copy()
        if self.at_work:
            self.found[self.sender]["Tcp.RetransSegs"] += 1
            self.found[self.at][self.kind] += 1
        return told

    def use(self, *_: object) -> None:
        self.at_work = not self.at_work


@pytest.mark.parametrize("kind", ["Tcp.TCPDSACKOldSent", "Tcp.TCPDSACKOfoSent", "Tcp.TCPSynRetrans"])
@pytest.mark.parametrize("sender", HOSTS)
@pytest.mark.parametrize("before", [True, False])
def test_what_comes_while_counters_are_read_is_never_taken_for_a_duplicate(
    sender: str, kind: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = Restless(sender, kind)
    hosts.at_work = before
    monkeypatch.setattr(transparency, "counters", hosts.counters)
    found = transparency.counted(HOSTS, cast(Any, hosts), cast(Any, None), cast(Any, None), "with us")
    assert found.again > 0
    assert found.lost >= 0


def test_what_was_sent_again_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {host: Counter[str]({"Tcp.RetransSegs": 100, "Tcp.TCPDSACKOldSent": 7}) for host in HOSTS}
    monkeypatch.setattr(transparency, "counters", lambda host: tables[host])

    def use(*_: object) -> None:
        tables["client"].update({"Tcp.RetransSegs": 9, "Tcp.TCPSynRetrans": 2})
        tables["server"].update({"Tcp.TCPDSACKOldSent": 3, "Tcp.TCPDSACKOfoSent": 1})

    served = SimpleNamespace(use=use)
    found = transparency.counted(HOSTS, cast(Any, served), cast(Any, None), cast(Any, None), "with us")
    assert found == (9, 4, 2)
    assert found.lost == 3
