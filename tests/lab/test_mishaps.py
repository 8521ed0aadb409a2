"""What the machine does to a run in its middle: links, names and descriptors go, clocks jump, disks fill up.

A run ends in words, never in a traceback; what was lost is in its books; nothing is left behind.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from emulator.errors import TcpipNotReady
from emulator.indication import Indication
from emulator.topology import Pair
from emulator.traffic import Datagrams
from emulator.wfptypes import AddressFamily, InjectionType
from netns import mountpoint
from netns.patience import patient
from netns.process import find_program
from tests.lab.run_machine import Machine

pytestmark = pytest.mark.host_only("starts a run for every test, to disturb it")

SCENARIOS = '''
import resource
import time
from emulator import AddressFamily, Datagrams, Pair, scenario

HOUR = 3600
V4 = (AddressFamily.INET,)

def putting_back(driver, family):
    handle = driver.create_handle(family, 4)
    def again(seen):
        if seen.view.destination_port != 5000 or seen.injected_by(handle):
            return seen.permit()
        handle.network_send(seen.clone(), driver.done)
        return seen.block(absorb=True)
    driver.add(again, "OUTBOUND_IPPACKET", family)

@scenario
def clocks(pair: Pair, family: AddressFamily, check):
    """Both clocks jump, there and back, between packets and while some are under way."""
    wall, steady = time.time_ns, time.monotonic
    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        putting_back(driver, family)
        try:
            for jump in (0, HOUR, -HOUR, 0):
                traffic.send(b"under way")
                time.time_ns = lambda: wall() + jump * 10**9
                time.monotonic = lambda: steady() + max(jump, 0)
                check(f"a jump of {jump} s", traffic.exchange([b"one", b"two"]), [b"under way", b"one", b"two"])
        finally:
            time.time_ns, time.monotonic = wall, steady

@scenario(families=V4)
def descriptors(pair: Pair, family: AddressFamily, check):
    """No descriptor is to be had for a while; what needs one fails, and what comes after does not."""
    traffic = Datagrams(pair.host, pair.peer, family)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pair.host.driver() as driver:
        putting_back(driver, family)
        check("before", traffic.exchange([b"one"]), [b"one"])
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            check("meanwhile", traffic.exchange([b"two"]), [b"two"])
            with check.raises("another driver", Exception):
                pair.host.driver().add(lambda seen: seen.permit(), "INBOUND_TRANSPORT", family)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        check("after", traffic.exchange([b"three"]), [b"three"])

@scenario(families=V4)
def many(pair: Pair, family: AddressFamily, check):
    """Enough packets for a trace of some size."""
    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        putting_back(driver, family)
        sent = [b"%d" % number * 200 for number in range(200)]
        check("arrive", traffic.exchange(sent), sent)
'''


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path) as made:
        (tmp_path / "mishaps.py").write_text(SCENARIOS)
        yield made


def inject_again(pair: Pair, family: AddressFamily, refused: list[str]) -> Iterator[Datagrams]:
    """Traffic past a driver that puts every datagram back, and drops it where that is refused."""
    traffic = Datagrams(pair.host, pair.peer, family)
    with pair.host.driver() as driver:
        handle = driver.create_handle(family, InjectionType.NETWORK)

        def again(seen: Indication) -> None:
            if seen.view.destination_port != 5000 or seen.injected_by(handle):
                return seen.permit()
            clone = seen.clone()
            try:
                handle.network_send(clone, driver.done)
            except TcpipNotReady as error:
                refused.append(error.rule)
                driver.free(clone)
            return seen.block(absorb=True)

        driver.add(again, "OUTBOUND_IPPACKET", family)
        yield traffic


def test_a_link_that_goes_down_in_mid_run_loses_what_is_refused_and_nothing_later(
    pair: Pair, family: AddressFamily
) -> None:
    refused: list[str] = []
    for host in (pair.host, pair.peer):
        host.namespace.sysctl("net.ipv6.conf.eth0.keep_addr_on_down", 1)
    for traffic in inject_again(pair, family, refused):
        assert traffic.exchange([b"before"]) == [b"before"]
        for end in (pair.link.a, pair.link.b):
            end.down()
            with suppress(OSError):  # no route any more
                traffic.send(b"down")
            pair.host.stack.settle()
            end.up()
            assert traffic.exchange([b"after"])[-1] == b"after"
    assert pair.host.stack.core.lab_errors == []


def test_a_namespace_whose_name_is_deleted_under_us_works_on_and_is_gone_afterwards(family: AddressFamily) -> None:
    with Pair() as pair:
        name = pair.host.namespace.name
        for traffic in inject_again(pair, family, []):
            assert traffic.exchange([b"before"]) == [b"before"]
            subprocess.run([find_program("ip"), "netns", "delete", name], check=True)
            assert not mountpoint.exists(name)
            assert traffic.exchange([b"after"]) == [b"after"]
            assert pair.host.run("true").returncode == 0
        pair.close_stacks()
        assert pair.host.stack.books.closed
    assert not mountpoint.exists(name)


def test_a_device_that_is_deleted_under_us_ends_in_words_and_leaves_nothing(family: AddressFamily) -> None:
    with Pair() as pair:
        for traffic in inject_again(pair, family, []):
            assert traffic.exchange([b"before"]) == [b"before"]
            pair.peer.run("ip", "link", "delete", "eth0", user="root")
            with suppress(OSError):
                traffic.send(b"nowhere to go")
            pair.host.stack.settle()
        pair.close_stacks()
        assert pair.host.stack.books.closed


def test_clocks_may_jump(machine: Machine) -> None:
    ran = machine.wfplab("run", "mishaps.py::clocks", "--report", "report")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = machine.wfplab("trace", "report", "--lost")
    assert told.stderr == ""
    assert "no packet was lost" in told.stdout, told.stdout


def test_descriptors_may_run_out_in_mid_run(machine: Machine) -> None:
    ran = machine.wfplab("run", "mishaps.py::descriptors")
    assert "Traceback" not in ran.stdout + ran.stderr
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("most", [8, 20])
def test_a_run_without_enough_descriptors_says_so_and_leaves_nothing(most: int, machine: Machine) -> None:
    limited = [*machine.argv()[:3], "prlimit", f"--nofile={most}:{most}", *machine.argv("run", "quick.py::good")[3:]]
    ran = subprocess.run(limited, capture_output=True, text=True, timeout=patient(120), check=False)
    assert ran.returncode == 1
    assert "Too many open files" in ran.stdout
    assert not re.search(r'File ".*/(emulator|netns)/', ran.stdout + ran.stderr)
    assert machine.wfplab("clean").returncode == 0, "what could not be removed without descriptors"


def test_a_disk_that_is_full_fails_the_run_and_leaves_no_half_report(machine: Machine) -> None:
    inside = [*machine.argv()[:3]]
    (machine.folder / "small").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "none", "small"]
    subprocess.run([*inside, *mount], check=True)
    ran = machine.wfplab("run", "mishaps.py::many", "--json", "--report", "small/report")
    assert ran.returncode == 1
    (scenario,) = json.loads(ran.stdout)["scenarios"]
    assert [check["name"] for check in scenario["checks"] if not check["ok"]] == ["its trace could be written"]
    assert "Traceback" not in ran.stderr
    assert "No space left on device" in ran.stdout
    listed = subprocess.run([*inside, "ls", "-A", "small/report"], capture_output=True, text=True, check=True)
    left = set(listed.stdout.split())
    assert left <= {"trace.jsonl", "capture.pcapng", "junit.xml", "report.html"}, "nothing half written"
    if "trace.jsonl" in left:
        assert machine.wfplab("trace", "small/report").stderr == ""
