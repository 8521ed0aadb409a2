"""What of root's power is left where callouts run, in the run itself, and in the programs that it starts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.indication import Indication
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily
from netns.capabilities import CALLOUTS, LABS, Capability
from tests.lab.run_machine import Machine

SCENARIO = '''
from emulator import AddressFamily, Pair, scenario

def held(path="/proc/self/status"):
    return {line[:6]: int(line.split()[1], 16) for line in open(path) if line.startswith("Cap")}

@scenario(families=(AddressFamily.INET,))
def status(pair: Pair, family: AddressFamily, check):
    """What the run may do."""
    import json
    from pathlib import Path
    ordinary = pair.host.run("cat", "/proc/self/status").stdout
    root = pair.host.run("cat", "/proc/self/status", user="root").stdout
    found = {"run": held(), "ordinary": ordinary, "root": root}
    check("written", Path("held.json").write_text(json.dumps(found)) > 0, True)
'''


def mask(kept: frozenset[Capability]) -> int:
    return sum(1 << capability for capability in kept)


def held(text: str, field: str) -> int:
    return next(int(line.split()[1], 16) for line in text.splitlines() if line.startswith(field))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as made:
        (tmp_path / "status.py").write_text(SCENARIO)
        yield made


def test_callouts_run_with_little_of_roots_power(pair: Pair, family: AddressFamily) -> None:
    seen: dict[str, str] = {}

    def classify(indication: Indication) -> None:
        if not seen:
            seen["thread"] = Path("/proc/thread-self/status").read_text()
            seen["program"] = subprocess.run(
                ["cat", "/proc/self/status"], capture_output=True, text=True, check=True
            ).stdout
        indication.permit()

    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        driver.add(classify, "OUTBOUND_IPPACKET", family)
        assert traffic.exchange([b"one"]) == [b"one"]
    for text in seen.values():
        for field in ("CapPrm", "CapEff", "CapBnd"):
            assert held(text, field) == mask(CALLOUTS)
        assert held(text, "CapInh") == held(text, "CapAmb") == 0
    with pytest.raises(PermissionError):
        _in_classify(pair, family, lambda: Path("/proc/1/ns/net").stat())


def _in_classify(pair: Pair, family: AddressFamily, work: object) -> None:
    raised: list[OSError] = []

    def classify(indication: Indication) -> None:
        try:
            work()  # type: ignore[operator]
        except OSError as error:
            raised.append(error)
        indication.permit()

    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        driver.add(classify, "OUTBOUND_IPPACKET", family)
        traffic.exchange([b"two"])
    if raised:
        raise raised[0]


def test_a_run_keeps_what_labs_need_and_programs_of_ordinary_users_nothing(machine: Machine) -> None:
    ran = machine.wfplab("run", "status.py::status")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((machine.folder / "held.json").read_text())
    for field in ("CapPrm", "CapEff", "CapBnd"):
        assert found["run"][field] == mask(LABS), field
    for field in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert held(found["ordinary"], field) == 0
    assert held(found["root"], "CapEff") == mask(LABS)
