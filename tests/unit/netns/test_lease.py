"""Leases in a directory of our own: needs no root, since no namespace is made."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from netns import lease as lease_module
from netns.errors import UnsafeState
from netns.lease import Lease, labelled, living, reap


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def abandon(state: str, run: str, *entries: dict[str, object] | str) -> Path:
    """A lease as a dead owner leaves it: there, and not locked."""
    Path(state).mkdir(mode=0o700, exist_ok=True)
    path = Path(state) / f"{run}.lease"
    path.write_text("".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in entries))
    return path


def test_the_state_directory_is_made_for_us_alone(state: str) -> None:
    with Lease(state):
        assert os.stat(state).st_mode & 0o777 == 0o700


def test_names_carry_the_run_and_are_written_down_before_use(state: str) -> None:
    with Lease(state) as lease:
        name = lease.claim("client")
        assert name == f"wfp-{lease.run}-client"
        lines = [json.loads(line) for line in Path(lease.path).read_text().splitlines()]
    assert lines[0]["pid"] == os.getpid()
    assert lines[0]["start"] > 0
    assert lines[1] == {"claim": name}


def test_a_closed_lease_leaves_no_file(state: str) -> None:
    lease = Lease(state)
    lease.close()
    lease.close()
    assert os.listdir(state) == []


def test_a_live_lease_is_listed_and_not_reaped(state: str) -> None:
    with Lease(state) as lease:
        name = lease.claim("a")
        assert reap(state) == []
        assert os.path.exists(lease.path)
        assert [(live.run, live.pid, live.namespaces) for live in living(state)] == [(lease.run, os.getpid(), (name,))]


def test_two_leases_have_two_runs(state: str) -> None:
    with Lease(state) as first, Lease(state) as second:
        assert first.run != second.run
        assert {live.run for live in living(state)} == {first.run, second.run}


def test_a_dead_lease_is_reaped_once_and_told(state: str) -> None:
    path = abandon(state, "0badcafe", {"pid": 4242, "start": 1}, {"claim": "wfp-0badcafe-none"})
    cleaned = reap(state)
    assert [(one.run, one.pid, one.namespaces, one.processes) for one in cleaned] == [("0badcafe", 4242, (), ())]
    assert not path.exists()
    assert reap(state) == []
    assert living(state) == []


@pytest.mark.parametrize("last", ['{"claim": "wfp-', "", "null-ish", "[1", "5", "null"])
def test_a_journal_cut_off_in_mid_write_is_still_reaped(state: str, last: str) -> None:
    path = abandon(state, "0badcafe", {"pid": 1, "start": 1}, last)
    assert [one.run for one in reap(state)] == ["0badcafe"]
    assert not path.exists()


def test_an_empty_lease_is_reaped(state: str) -> None:
    # Its owner died between making the file and the first line.
    abandon(state, "0badcafe")
    assert [one.pid for one in reap(state)] == [0]


def test_other_files_are_left_alone(state: str) -> None:
    abandon(state, "0badcafe", {"pid": 1})
    other = Path(state) / "notes.txt"
    other.write_text("mine")
    reap(state)
    assert other.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_state_directory_open_to_others_is_refused(state: str, mode: int) -> None:
    Path(state).mkdir()
    os.chmod(state, mode)
    with pytest.raises(UnsafeState, match="mode"):
        reap(state)
    with pytest.raises(UnsafeState, match="mode"):
        Lease(state)
    assert os.listdir(state) == []


def test_a_symbolic_link_as_state_directory_is_refused(state: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    os.symlink(tmp_path / "elsewhere", state)
    with pytest.raises(UnsafeState, match="symbolic link"):
        Lease(state)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_symbolic_link_as_lease_is_not_followed(state: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    abandon(state, "0badcafe")
    (Path(state) / "11111111.lease").symlink_to(victim)
    reap(state)
    assert victim.read_text() == "kept"


def test_a_lease_that_another_reaper_finished_meanwhile_is_not_reaped_again(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = abandon(state, "0badcafe", {"pid": 1})

    def lock_after_the_other(fd: int) -> bool:
        path.unlink()  # between our opening it and our lock
        return real(fd)

    real = lease_module._try_lock
    monkeypatch.setattr(lease_module, "_try_lock", lock_after_the_other)
    assert reap(state) == []


def test_a_new_lease_that_a_reaper_took_for_abandoned_is_given_up_for_another(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []

    def lock_after_the_reaper(fd: int) -> bool:
        if not lost:  # the reaper came between our making the file and our lock
            lost.extend(os.listdir(state))
            os.unlink(f"{state}/{lost[0]}")
        return real(fd)

    real = lease_module._try_lock
    monkeypatch.setattr(lease_module, "_try_lock", lock_after_the_reaper)
    with Lease(state) as lease:
        assert f"{lease.run}.lease" not in lost
        assert os.listdir(state) == [f"{lease.run}.lease"]


def test_children_do_not_inherit_the_lock(state: str) -> None:
    with Lease(state) as lease:
        assert not os.get_inheritable(lease._fd)


def test_a_forgotten_lease_warns(state: str) -> None:
    lease = Lease(state)
    with pytest.warns(ResourceWarning, match=lease.run):
        lease.__del__()
    lease.close()


def test_the_last_label_is_what_others_find_a_lease_by(state: str) -> None:
    with Lease(state) as labelled_one, Lease(state) as plain:
        labelled_one.label("first")
        labelled_one.label("second")
        found = {live.run: label for label, live in labelled(state)}
        assert found == {labelled_one.run: "second", plain.run: ""}
        assert {live.run for live in living(state)} == found.keys()
