"""Schedules by seed: a seed that fails is named, fails again, and gives the same trace each time."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns.patience import patient
from tests.lab.run_machine import Machine

SCENARIOS = '''
from emulator import AddressFamily, Datagrams, Pair, scenario
from emulator.callouts_stream import InlineEdit, OutOfBandEdit, Worker
from emulator.scenarios.stream import conversation

@scenario
def datagrams(pair: Pair, family: AddressFamily, check):
    """Datagrams that a callout clones and injects again."""
    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, 4)

        def again(seen):
            if seen.view.destination_port != 5000 or seen.injected_by(handle):
                return seen.permit()
            handle.network_send(seen.clone(), driver.done)
            return seen.block(absorb=True)

        driver.add(again, "OUTBOUND_IPPACKET", family)
        for number in range(12):
            check("arrives", traffic.exchange([b"%d" % number]), [b"%d" % number])

@scenario
def streams(pair: Pair, family: AddressFamily, check):
    """An out-of-band edit above an inline one, a piece at a time."""
    with Worker() as worker, pair.host.driver("a", weight=64) as upper, pair.host.driver("b", weight=32) as lower:
        upper.add(OutOfBandEdit(upper.create_handle(0, 1), b"rainy", b"cloudy", worker), "STREAM", family)
        lower.add(InlineEdit(lower.create_handle(0, 1), b"cloudy", b"sunny"), "STREAM", family)
        with conversation(pair, family) as ends:
            for sender, reader in ((ends.host, ends.peer), (ends.peer, ends.host)):
                for _ in range(3):
                    sender.sendall(b"so rainy here.")
                    check("edited", reader.recv(64, 256), b"so sunny here.")
            for ending, other in ((ends.host, ends.peer), (ends.peer, ends.host)):
                ending.shutdown(1)
                check("its end", other.recv(1), b"")
        pair.host.stack.stream.settle()

@scenario(families=(AddressFamily.INET,))
def hasty(pair: Pair, family: AddressFamily, check):
    """A driver that takes it for granted that lists come back in the order in which they left."""
    traffic = Datagrams(pair.host, pair.peer, family)
    back = []
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, 4)

        def done(context, item, dispatch_level):
            back.append(context)
            driver.free(item)

        def twice(seen):
            if seen.view.destination_port != 5000 or seen.injected_by(handle):
                return seen.permit()
            for number in (1, 2):
                handle.network_send(driver.create(seen.copy()), done, completion_context=number)
            return seen.block()

        driver.add(twice, "OUTBOUND_IPPACKET", family)
        check("arrives", traffic.exchange([b"one"]), [b"one", b"one"])
        check("come back in order", back, [1, 2])
'''


pytestmark = pytest.mark.timeout(patient(300))  # several runs each, on a machine that may be busy


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as made:
        (tmp_path / "seeded.py").write_text(SCENARIOS)
        yield made


def ran(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    return machine.wfplab("run", *arguments)


@pytest.mark.rule("GE-4", "OR-1")
@pytest.mark.case("H12")
def test_a_seed_gives_the_same_trace_each_time_and_another_seed_another(machine: Machine) -> None:
    both = ("seeded.py::datagrams", "seeded.py::streams")
    for folder, seed in (("one", "7"), ("two", "7"), ("other", "8")):
        passed = ran(machine, *both, "--seed", seed, "--report", folder)
        assert passed.returncode == 0, passed.stdout
    same = machine.wfplab("trace", "one", "--same-as", "two")
    assert same.returncode == 0, same.stdout
    assert "the same: " in same.stdout
    other = machine.wfplab("trace", "one", "--same-as", "other")
    assert other.returncode == 1
    assert "went another way" in other.stdout


@pytest.mark.rule("CF-6")
@pytest.mark.case("H12")
def test_a_seed_that_fails_is_named_and_fails_again(machine: Machine) -> None:
    some = ran(machine, "seeded.py::hasty", "--seed", "1", "--schedules", "8")
    assert some.returncode == 1
    told = re.search(r"(\d) fail, of seeds ([\d, ]+): `(wfplab run .*?)` shows it again", some.stdout)
    assert told is not None, some.stdout
    failing = {int(seed) for seed in told[2].split(", ")}
    assert 0 < len(failing) < 8, "some schedules show it, and some do not"
    again = told[3].split()[2:]
    assert again[-1] == str(min(failing))
    first, second = ran(machine, *again, "--report", "first"), ran(machine, *again, "--report", "second")
    for run in (first, second):
        assert run.returncode == 1
        assert "come back in order" in run.stdout
        assert "[2, 1]" in run.stdout
    assert machine.wfplab("trace", "first", "--same-as", "second").returncode == 0
    passing = min(set(range(1, 9)) - failing)
    assert ran(machine, "seeded.py::hasty", "--seed", str(passing)).returncode == 0
