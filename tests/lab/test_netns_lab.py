"""A lab leaves nothing behind: not when it ends, not when it fails, not when it is killed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from netns import inhabitants, mountpoint, settings
from netns.errors import BadName, Closed, KernelRefused, NameTaken, UnsafeState
from netns.interface import Interface
from netns.lab import Lab
from netns.lease import Lease, living, reap
from netns.namespace import Namespace
from netns.rules import Hook, InstalledRules, QueueRule
from netns.veth import VethPair

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534

OWNER = """
import json, sys, time
from netns.lab import Lab
lab = Lab(directory=sys.argv[1])
a, b = lab.namespace("a"), lab.namespace("b")
lab.link(a, b, addresses=(["192.0.2.1/24"], ["192.0.2.2/24"]))
child = a.start(["sleep", "600"])
stray = b.start(["sh", "-c", "setsid sleep 601 & echo $!"])
stray.wait(5)
print(json.dumps({"run": lab.run, "names": [a.name, b.name], "child": child.pid, "stray": int(stray.output())}))
sys.stdout.flush()
time.sleep(600)
"""


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


@pytest.fixture
def foreign() -> Iterator[str]:
    """A namespace that somebody else made with `ip netns add`, and a process of theirs in it."""
    name = f"foreign-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    sleeper = subprocess.Popen(["ip", "netns", "exec", name, "sleep", "600"])
    try:
        yield name
        assert sleeper.poll() is None, "the foreign process was killed"
        assert mountpoint.identity_of(name) is not None, "the foreign namespace was removed"
    finally:
        sleeper.kill()
        sleeper.wait()
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


class Owner:
    """A lab in another process, which can be killed."""

    def __init__(self, state: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, state], stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.run: str = told["run"]
        self.names: list[str] = told["names"]
        self.child = os.pidfd_open(told["child"])
        self.stray = os.pidfd_open(told["stray"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
        os.close(self.child)
        os.close(self.stray)


@pytest.fixture
def owner(state: str) -> Iterator[Owner]:
    made = Owner(state)
    try:
        yield made
    finally:
        made.close()
        reap(state)


def ended(pidfd: int, seconds: float = 5.0) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def ours(run: str) -> list[str]:
    return [name for name in os.listdir(mountpoint.DIRECTORY) if name.startswith(f"wfp-{run}-")]


def belongings() -> tuple[int, int]:
    """How many descriptors and threads this process has."""
    return len(os.listdir("/proc/self/fd")), threading.active_count()


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


def test_children_of_a_killed_lab_die_with_it_and_the_next_lab_clears_the_rest(
    state: str, foreign: str, owner: Owner
) -> None:
    assert not ended(owner.child, 0)
    owner.kill()
    assert ended(owner.child), "the started program outlived its owner"
    assert not ended(owner.stray, 0), "the stray was meant to outlive it; the test shows nothing"
    assert sorted(ours(owner.run)) == sorted(owner.names)
    with Lab(directory=state) as lab:
        (cleaned,) = lab.cleaned
        assert cleaned.run == owner.run
        assert cleaned.pid == owner.process.pid
        assert sorted(cleaned.namespaces) == sorted(owner.names)
        assert len(cleaned.processes) == 1
        assert ended(owner.stray)
        assert ours(owner.run) == []
    assert os.listdir(state) == []


def test_a_live_lab_is_not_touched_by_another_or_by_a_reaper(state: str, owner: Owner) -> None:
    assert reap(state) == []
    with Lab(directory=state) as lab:
        assert lab.cleaned == []
        assert {live.run for live in living(state)} == {lab.run, owner.run}
    assert sorted(ours(owner.run)) == sorted(owner.names)
    assert not ended(owner.child, 0)
    assert not ended(owner.stray, 0)


def test_of_two_reapers_each_estate_goes_to_one(state: str) -> None:
    owners = [Owner(state) for _ in range(2)]
    try:
        for owner in owners:
            owner.kill()
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: reap(state), range(4)))
        assert sorted(one.run for result in results for one in result) == sorted(owner.run for owner in owners)
        assert [ours(owner.run) for owner in owners] == [[], []]
    finally:
        for owner in owners:
            owner.close()


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


def abandon(state: str, run: str, *entries: dict[str, object]) -> None:
    Path(state).mkdir(mode=0o700, exist_ok=True)
    (Path(state) / f"{run}.lease").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_a_name_that_now_belongs_to_another_namespace_is_left_alone(state: str, foreign: str) -> None:
    identity = mountpoint.identity_of(foreign)
    assert identity is not None
    abandon(state, "0badcafe", {"pid": 1}, {"made": foreign, "device": identity[0], "inode": identity[1] + 1})
    assert [one.namespaces for one in reap(state)] == [()]


def test_the_case_above_would_be_reaped_if_it_were_the_same_namespace(state: str) -> None:
    name = f"wfp-{os.getpid()}-twin"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    identity = mountpoint.identity_of(name)
    assert identity is not None
    abandon(state, "0badcafe", {"pid": 1}, {"made": name, "device": identity[0], "inode": identity[1]})
    try:
        assert [one.namespaces for one in reap(state)] == [(name,)]
        assert not mountpoint.exists(name)
    finally:
        mountpoint.detach(name, mountpoint.identity_of(name))  # where the test fails


def test_a_name_claimed_and_never_mounted_is_removed(state: str) -> None:
    name = f"wfp-{os.getpid()}-half"
    mountpoint.claim(name)
    abandon(state, "0badcafe", {"pid": 1}, {"claim": name})
    try:
        assert [one.namespaces for one in reap(state)] == [(name,)]
        assert not mountpoint.exists(name)
    finally:
        mountpoint.detach(name, mountpoint.identity_of(name))  # where the test fails


def test_a_name_taken_by_a_stranger_is_refused_and_survives_the_lab(state: str) -> None:
    with Lab(directory=state) as lab:
        name = f"wfp-{lab.run}-a"
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
        with pytest.raises(NameTaken):
            lab.namespace("a")
    try:
        assert mountpoint.identity_of(name) is not None
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


def test_a_stranger_who_takes_the_name_between_our_look_and_our_claim_keeps_it(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lab(directory=state) as lab:
        name = f"wfp-{lab.run}-a"
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
        with monkeypatch.context() as patch:
            patch.setattr(mountpoint, "exists", lambda _: False)
            with pytest.raises(NameTaken):
                lab.namespace("a")
    try:
        assert mountpoint.identity_of(name) is not None
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


def test_closing_a_lease_removes_what_was_claimed_and_never_handed_over(state: str) -> None:
    # As after Ctrl-C between the kernel's making it and our hearing of it.
    with Lease(state) as lease:
        name = lease.claim("a")
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    try:
        assert not mountpoint.exists(name)
        assert os.listdir(state) == []
    finally:
        mountpoint.detach(name, mountpoint.identity_of(name))  # where the test fails


def test_a_namespace_deleted_behind_our_back_does_not_hinder_closing(state: str) -> None:
    with Lab(directory=state) as lab:
        gone = lab.namespace("a")
        subprocess.run(["ip", "netns", "del", gone.name], check=True, timeout=10)
    assert ours(lab.run) == []


def test_a_name_given_to_a_stranger_meanwhile_is_left_to_him(state: str) -> None:
    with Lab(directory=state) as lab:
        name = lab.namespace("a").name
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)
        subprocess.run(["ip", "netns", "add", name], check=True, timeout=10)
    try:
        assert mountpoint.identity_of(name) is not None
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=10)


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
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30)
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
