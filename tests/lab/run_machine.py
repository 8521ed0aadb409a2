"""A machine for runs of `wfplab`: scenarios to run, and a mount namespace in which no other run's labs are seen."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from netns.patience import patient

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = patient(30.0)

SLOW = '''
import time
from emulator import AddressFamily, Checks, Pair, Datagrams, scenario

@scenario()
def slow(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """host === peer"""
    check("control", Datagrams(pair.host, pair.peer, family).exchange([b"one"]), [b"one"])
    check.step("waiting")
    time.sleep(60)
'''

QUICK = '''
from emulator import AddressFamily, Checks, Pair, Datagrams, scenario

@scenario(families=(AddressFamily.INET,))
def good(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """host === peer"""
    check("arrives", Datagrams(pair.host, pair.peer, family).exchange([b"one"]), [b"one"])

@scenario(families=(AddressFamily.INET,))
def bad(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """host === peer"""
    check("arrives", Datagrams(pair.host, pair.peer, family).exchange([b"one"]), [b"two"])

@scenario(families=(AddressFamily.INET,))
def empty_handed(pair: Pair) -> None:
    """host === peer"""

@scenario(families=(AddressFamily.INET,))
def raising(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A callout that raises."""
    traffic = Datagrams(pair.host, pair.peer, family)
    check("control", traffic.exchange([b"one"]), [b"one"])
    with pair.host.driver() as driver:
        driver.add(lambda seen: 1 // 0, "OUTBOUND_IPPACKET", family)
        traffic.exchange([b"two"])

@scenario(families=(AddressFamily.INET,))
def hoarding(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A callout that never gives its clone back."""
    traffic = Datagrams(pair.host, pair.peer, family)
    check("control", traffic.exchange([b"one"]), [b"one"])
    kept = []
    def hoard(seen):
        if seen.view.destination_port == 5000:
            kept.append(seen.clone())
            return seen.block(absorb=True)
        return seen.permit()
    with pair.host.driver() as driver:
        driver.add(hoard, "OUTBOUND_IPPACKET", family)
        traffic.send(b"two")
        pair.host.stack.settle(timeout=0.5)

@scenario(families=(AddressFamily.INET,))
def spinning(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """A callout that does not return."""
    traffic = Datagrams(pair.host, pair.peer, family)
    check("control", traffic.exchange([b"one"]), [b"one"])
    def spin(seen):
        while True:
            pass
    with pair.host.driver() as driver:
        driver.add(spin, "OUTBOUND_IPPACKET", family)
        traffic.exchange([b"two"])

@scenario(families=(AddressFamily.INET,))
def lively(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """Long enough to be watched."""
    import time
    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, 4)
        def pass_on(seen):
            if seen.view.destination_port != 5000 or seen.injected_by(handle):
                return seen.permit()
            handle.network_send(seen.clone(), driver.done)
            return seen.block(absorb=True)
        driver.add(pass_on, "OUTBOUND_IPPACKET", family)
        for _ in range(15):
            check("arrives", traffic.exchange([b"one"]), [b"one"])
            time.sleep(0.1)

@scenario(families=(AddressFamily.INET,))
def lacking(check: Checks) -> None:
    """A machine without some feature."""
    from netns.errors import MissingFeature
    raise MissingFeature("the feature")
'''


class Machine:
    """A folder with scenarios, and a mount namespace in which no other run's labs are seen, nor ours by others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "quick.py").write_text(QUICK)
        (folder / "slow.py").write_text(SLOW)
        script = "for at in /run/netns /run/wfplab; do mkdir -p $at && mount -t tmpfs -o mode=700 none $at; done"
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", f"{script}; echo ready; exec sleep 600"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "ready\n"

    def argv(self, *arguments: str) -> list[str]:
        """`wfplab` inside of it."""
        inside = ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", f"--wdns={self.folder}"]
        return [*inside, sys.executable, "-P", "-m", "emulator", *arguments]

    def wfplab(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.argv(*arguments), env=environment(), capture_output=True, text=True, input=stdin, timeout=patient(120)
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it, in a session of its own."""
        return subprocess.Popen(
            self.argv(*arguments), env=environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def namespaces(self) -> set[str]:
        """The names of what labs have made."""
        return self.listed("netns")

    def listed(self, folder: str) -> set[str]:
        """What is in a folder of its /run."""
        return set(os.listdir(Path("/proc", str(self.holder.pid), "root", "run", folder)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End it; fails if a lab is left."""
        try:
            if kind is None:
                assert eventually(lambda: not self.namespaces()), f"left behind: {self.namespaces()}"
                assert self.listed("wfplab") == set()
        finally:
            self.holder.kill()
            self.holder.communicate()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def eventually(holds: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
