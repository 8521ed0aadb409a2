"""What a killed lab leaves is cleared by the next one, and nothing of anybody else is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from netns import mountpoint
from netns.lab import Lab
from netns.lease import living, reap
from netns.patience import patient
from tests.lab.leftovers import ended, ours

ROOT = Path(__file__).resolve().parents[2]

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
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=patient(10))
    sleeper = subprocess.Popen(["ip", "netns", "exec", name, "sleep", "600"])
    try:
        yield name
        assert sleeper.poll() is None, "the foreign process was killed"
        assert mountpoint.identity_of(name) is not None, "the foreign namespace was removed"
    finally:
        sleeper.kill()
        sleeper.wait()
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=patient(10))


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
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=patient(10))
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
