"""A lab leaves nothing behind: not when it ends, not when it fails, not when names are taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from netns import inhabitants, mountpoint, settings
from netns.errors import BadName, Closed, KernelRefused, NameTaken, UnsafeState
from netns.interface import Interface
from netns.lab import Lab
from netns.lease import Lease
from netns.namespace import Namespace
from netns.patience import patient
from netns.rules import Hook, InstalledRules, QueueRule
from netns.veth import VethPair
from tests.lab.leftovers import belongings, ended, ours

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def test_an_ended_lab_leaves_nothing_in_the_process_or_the_machine(state: str) -> None:
    with Lab(directory=state):
        pass  # whatever is opened once per process is open now
    before = belongings()
    with Lab(directory=state) as lab:
        a, b = lab.namespace("a"), lab.namespace("b")
        lab.link(a, b, addresses=(["192.0.2.1/24"], ["2001:db8::1/64"]))
        lab.bridge("lan", [a, b])
        rules = InstalledRules(a, [QueueRule(family=6, hook=Hook.INPUT, queue=1)])
        lab.owned.callback(rules.close)
        child = os.pidfd_open(a.start(["sleep", "600"]).pid)
        assert len(ours(lab.run)) == 3
    try:
        assert ended(child, 0)
    finally:
        os.close(child)
    assert ours(lab.run) == []
    assert os.listdir(state) == []
    assert belongings() == before


def test_a_lab_tells_what_it_has(state: str) -> None:
    with Lab(directory=state) as lab:
        client = lab.namespace("client")
        assert client.name == f"wfp-{lab.run}-client"
        assert lab["client"] is client
        assert lab.cleaned == []
        with pytest.raises(KeyError):
            lab["server"]
        with pytest.raises(BadName, match="already"):
            lab.namespace("client")
        with pytest.raises(BadName):
            lab.namespace("../client")
    lab.close()
    with pytest.raises(Closed):
        lab.namespace("late")
    with pytest.raises(Closed):
        lab.link("client", "client")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError, KernelRefused])
@pytest.mark.parametrize(
    ("target", "name"),
    [
        (mountpoint, "attach"),
        (settings, "raise_interface"),
        (Lease, "claim"),
        (Lease, "made"),
        (VethPair, "up"),
        (Interface, "add_addresses"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_lab_that_fails_in_the_middle_leaves_nothing(
    state: str, monkeypatch: pytest.MonkeyPatch, target: Any, name: str, kind: type[BaseException]
) -> None:
    with Lab(directory=state) as warm:
        warm.namespace("a").links()
    before = belongings()
    error = kind("adding", 5) if kind is KernelRefused else kind("in the middle")
    real, calls = getattr(target, name), 0

    def fails_the_second_time(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error
        return real(*args, **options)

    monkeypatch.setattr(target, name, fails_the_second_time)
    with pytest.raises(kind) as caught, Lab(directory=state) as lab:  # noqa: PT012, the block is what fails
        a, b = lab.namespace("a"), lab.namespace("b")
        for _ in range(2):
            lab.link(a, b, addresses=(["192.0.2.1/24"], []))
    assert caught.value is error
    assert calls == 2
    assert ours(lab.run) == []
    assert os.listdir(state) == []
    assert belongings() == before


def test_the_first_error_is_not_masked_by_one_while_clearing_up(state: str) -> None:
    def fails() -> None:
        raise KernelRefused("clearing up", 5)

    with pytest.raises(ZeroDivisionError) as caught, Lab(directory=state) as lab:  # noqa: PT012
        lab.namespace("a")
        lab.owned.callback(fails)
        raise ZeroDivisionError
    assert "clearing up" in "".join(caught.value.__notes__)
    assert ours(lab.run) == []
    with pytest.raises(KernelRefused, match="clearing up"), Lab(directory=state) as lab:
        lab.owned.callback(fails)


def test_labs_in_parallel_do_not_see_each_other(state: str) -> None:
    def one(number: int) -> tuple[str, str]:
        with Lab(directory=state) as lab:
            a, b = lab.namespace("a"), lab.namespace("b")
            lab.link(a, b, addresses=([f"192.0.2.{number}/24"], ["192.0.2.254/24"]))
            a.run(["ping", "-c1", "-W5", "192.0.2.254"])
            return lab.run, str([str(a) for a in a.interface("eth0").addresses() if a.version == 4])

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(one, range(1, 7)))
    assert len({run for run, _ in results}) == 6
    assert [addresses for _, addresses in results] == [f"['192.0.2.{number}/24']" for number in range(1, 7)]
    assert os.listdir(state) == []


def test_a_name_taken_by_a_stranger_is_refused_and_survives_the_lab(state: str) -> None:
    with Lab(directory=state) as lab:
        name = f"wfp-{lab.run}-a"
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=patient(10))
        with pytest.raises(NameTaken):
            lab.namespace("a")
    try:
        assert mountpoint.identity_of(name) is not None
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=patient(10))


def test_a_stranger_who_takes_the_name_between_our_look_and_our_claim_keeps_it(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lab(directory=state) as lab:
        name = f"wfp-{lab.run}-a"
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=patient(10))
        with monkeypatch.context() as patch:
            patch.setattr(mountpoint, "exists", lambda _: False)
            with pytest.raises(NameTaken):
                lab.namespace("a")
    try:
        assert mountpoint.identity_of(name) is not None
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=patient(10))


def test_closing_a_lease_removes_what_was_claimed_and_never_handed_over(state: str) -> None:
    # As after Ctrl-C between the kernel's making it and our hearing of it.
    with Lease(state) as lease:
        name = lease.claim("a")
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=patient(10))
    try:
        assert not mountpoint.exists(name)
        assert os.listdir(state) == []
    finally:
        mountpoint.detach(name, mountpoint.identity_of(name))  # where the test fails


def test_a_namespace_deleted_behind_our_back_does_not_hinder_closing(state: str) -> None:
    with Lab(directory=state) as lab:
        gone = lab.namespace("a")
        subprocess.run(["ip", "netns", "del", gone.name], check=True, timeout=patient(10))
    assert ours(lab.run) == []


def test_a_name_given_to_a_stranger_meanwhile_is_left_to_him(state: str) -> None:
    with Lab(directory=state) as lab:
        name = lab.namespace("a").name
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=patient(10))
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=patient(10))
    try:
        assert mountpoint.identity_of(name) is not None
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=patient(10))


def test_a_state_directory_of_somebody_else_is_refused(state: str) -> None:
    Path(state).mkdir(mode=0o700)
    os.chown(state, NOBODY, NOBODY)
    with pytest.raises(UnsafeState, match="belongs to user 65534"):
        Lab(directory=state)


def test_a_plain_user_is_told_to_use_root() -> None:
    # Starts as root, since a plain user may not be able to read this interpreter.
    code = (
        "import os\nfrom netns.lab import Lab\nfrom netns.errors import NotPermitted\n"
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try:\n    Lab()\nexcept NotPermitted as error:\n    print(error)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=patient(30))
    assert "/run/wfplab: not permitted; run it as root" in told.stdout, told.stderr


def test_inhabitants_are_found_by_namespace_and_never_ourselves(state: str) -> None:
    with Lab(directory=state) as lab:
        a, b = lab.namespace("a"), lab.namespace("b")
        started = a.start(["sleep", "600"])
        found = list(inhabitants.inhabitants({a.identity}))
        for _, pidfd in found:
            os.close(pidfd)
        assert [pid for pid, _ in found] == [started.pid]
        assert inhabitants.kill_inhabitants({b.identity}) == []
        neighbours = list(inhabitants.inhabitants({inhabitants.identify("/proc/self/ns/net")}))
        for _, pidfd in neighbours:
            os.close(pidfd)
        assert os.getpid() not in [pid for pid, _ in neighbours]
        assert os.getppid() in [pid for pid, _ in neighbours]
        assert started.stop() == -signal.SIGTERM


def test_many_labs_one_after_the_other_leak_nothing(state: str) -> None:
    counts = []
    for _ in range(10):
        with Lab(directory=state) as lab:
            lab.link(lab.namespace("a"), lab.namespace("b"))
        counts.append(belongings())
    assert counts[0] == counts[-1]


def test_a_single_namespace_needs_no_lab_and_no_lease() -> None:
    with Namespace(f"wfp-test-{os.getpid()}") as alone:
        assert alone.run(["true"]).returncode == 0
    assert not mountpoint.exists(alone.name)
