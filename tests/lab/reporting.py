"""What tests of reports share: scenarios that show every kind of thing, and a run of them with `--report`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from netns.patience import patient

HOSTILE = "</script><script>document.title='broken'</script>\x00\x1b[2J\u202edlrow\u2066"
SCENARIOS = '''
"""Scenarios for tests of the report."""

from emulator import Action, Callout, Checks, Datagrams, InjectionType, Pair, scenario
from emulator.wfptypes import AddressFamily

HOSTILE = {hostile!r}


class Copier(Callout):
    """Sends a clone of what goes to port 5000 in its place."""

    def __init__(self, driver, family):
        self.driver = driver
        self.handle = driver.create_handle(family, InjectionType.NETWORK)

    def classify(self, seen):
        if 5000 not in (seen.view.ports or ()) or seen.injected_by(self.handle):
            return seen.permit()
        self.handle.network_send(seen.clone(), self.driver.done)
        return seen.block(absorb=True)


@scenario
def copies(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Every datagram is cloned and sent again; some hold {hostile_text}"""
    payloads = [HOSTILE.encode(), b"plain", bytes(range(64))]
    with pair.host.driver("copier") as driver:
        traffic = Datagrams(pair.host, pair.peer, family)
        driver.add(Copier(driver, family), "OUTBOUND_IPPACKET", family)
        check(HOSTILE, traffic.exchange(payloads), payloads)


@scenario
def drops(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Datagrams to port 5000 are blocked, without a callout."""
    with pair.host.driver("wall") as driver:
        traffic = Datagrams(pair.host, pair.peer, family)
        driver.add(None, "OUTBOUND_TRANSPORT", family, where={{"IP_REMOTE_PORT": 5000}}, action=Action.BLOCK)
        check("nothing arrives", traffic.exchange([b"one", b"two"]), [])


@scenario
def fails(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Expects what does not come, and breaks a rule."""
    traffic = Datagrams(pair.peer, pair.host, family)
    check("what arrived", traffic.exchange([b"one"]), [HOSTILE.encode()])
    item = pair.host.stack.core.ownership.create_from(b"x")
    pair.host.stack.core.ownership.free_list(item)
    pair.host.stack.core.ownership.free_list(item)
'''


def write_scenarios(folder: Path) -> Path:
    """The scenarios as a file."""
    file = folder / "shown.py"
    shown = HOSTILE.encode("unicode_escape").decode()
    file.write_text(SCENARIOS.format(hostile=HOSTILE, hostile_text=shown.replace("\\", "\\\\")))
    return file


def wfplab(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    argv = [sys.executable, "-m", "emulator", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=patient(50), check=False, cwd=cwd)
