"""Nothing is lost silently: runs whose handler is killed in mid-traffic, and queues that are too short."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.run_machine import PATIENCE_SECONDS, Machine, eventually

pytestmark = pytest.mark.host_only("starts a run for every test, to kill or to flood it")

BUSY = '''
import time
from emulator import AddressFamily, Checks, Pair, scenario
from netns import scratch
from emulator.ported.reinject import HOST_LAYERS, reinject_at

@scenario(families=(AddressFamily.INET,))
def busy(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """peer --ping -f--> (every layer: block, clone, inject) host"""
    with scratch.folder() as folder, pair.host.driver() as driver:
        layers = reinject_at(driver, family, HOST_LAYERS)
        flood = pair.peer.start("ping", "-f", "-q", "-w", "30", pair.host.address(family), user="root")
        while layers["INBOUND_IPPACKET"].states["NOT_INJECTED"] < 200:
            time.sleep(0.01)
        check.step(f"in mid-traffic, with {folder} and ping as process {flood.pid}")
        time.sleep(30)
'''

NARROW = '''
import threading
from dataclasses import replace
from emulator import AddressFamily, Checks, Datagrams, Pair, scenario
from emulator.paths.queue import QueueLimits

class Narrow(Pair):
    """A pair whose host has room for few packets."""

    def __init__(self, options, **more):
        super().__init__(replace(options, limits=QueueLimits(length=16)), **more)

@scenario
def overflows(pair: Narrow, family: AddressFamily, check: Checks) -> None:
    """host (a callout that takes its time) --100 datagrams--> peer"""
    gate, entered = threading.Event(), threading.Event()
    traffic = Datagrams(pair.host, pair.peer, family)

    def slow(seen):
        if seen.view.destination_port == 5000:
            entered.set()
            gate.wait(10)
        seen.permit()

    with pair.host.driver() as driver:
        driver.add(slow, "OUTBOUND_IPPACKET", family)
        traffic.send(b"first")
        entered.wait(10)
        traffic.send(*[b"%d" % number for number in range(99)])
        gate.set()
        check("arrived", len(traffic.arrived()), 16)
'''

LARGE = '''
from emulator import AddressFamily, Checks, Datagrams, Pair, scenario

@scenario(families=(AddressFamily.INET,))
def large(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """peer --a datagram in fragments--> host"""
    traffic = Datagrams(pair.peer, pair.host, family)
    shown = []

    def look(seen):
        if seen.view.destination_port == 5000:
            shown.append(len(seen.payload))
        seen.permit()

    with pair.host.driver() as driver:
        driver.add(look, "INBOUND_TRANSPORT", family)
        check("arrived", [len(item) for item in traffic.exchange([bytes(6000)])], [6000])
    check("shown", shown in ([], [6000]), True)
'''


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine on which no lab is left in the end."""
    (tmp_path / "busy.py").write_text(BUSY)
    (tmp_path / "narrow.py").write_text(NARROW)
    (tmp_path / "large.py").write_text(LARGE)
    with Machine(tmp_path) as made:
        yield made


@pytest.mark.parametrize("queue", ["netlink", "netfilterqueue"])
def test_a_run_that_is_killed_in_mid_traffic_is_cleared_up_by_the_next(machine: Machine, queue: str) -> None:
    run = machine.start("run", "busy.py", "--queue", queue, "-v")
    assert run.stderr is not None
    said = next(line for line in iter(run.stderr.readline, "") if "in mid-traffic" in line)
    ping, folder = int(said.split()[-1]), said.split()[-6]
    assert os.path.isdir(folder)
    assert Path(f"/proc/{ping}/comm").read_text() == "ping\n"
    left = machine.namespaces()
    assert len(left) == 2
    run.kill()
    run.communicate()
    after = machine.wfplab("run", "clone_and_inject_outbound", "--queue", queue)
    names = ", ".join(sorted(left))
    assert f"wfplab: removed what a dead run (process {run.pid}) had left: {names}\n" in after.stderr
    assert f"wfplab: removed the folder of a dead run: {folder}\n" in after.stderr
    assert not os.path.exists(folder)
    assert after.returncode == 0, after.stdout
    assert "1 passed" in after.stdout
    assert eventually(lambda: not os.path.exists(f"/proc/{ping}"), PATIENCE_SECONDS)
    assert machine.wfplab("clean").stdout == "nothing was left behind\n"


@pytest.mark.parametrize("queue", ["netlink", "netfilterqueue"])
def test_a_queue_that_overflows_fails_the_run_and_the_books_say_by_how_much(machine: Machine, queue: str) -> None:
    ran = machine.wfplab("run", "narrow.py", "--queue", queue, "--json", "--family", "ipv4")
    assert ran.returncode == 1
    (told,) = json.loads(ran.stdout)["scenarios"]
    (book,) = told["books"]["hosts"].values()
    assert told["status"] == "failed"
    assert [check["name"] for check in told["checks"] if not check["ok"]] == ["ipv4: the books of host close"]
    assert book["lost"] == {"queue overflow": 84}
    assert book["hooks"]["postrouting"]["offered"] >= 16
    shown = machine.wfplab("run", "narrow.py", "--queue", queue, "--family", "ipv6")
    assert shown.returncode == 1
    assert "'lost': {'queue overflow': 84}" in shown.stdout


def test_a_packet_that_a_queue_cannot_show_whole_fails_the_run(machine: Machine) -> None:
    """It passes, for the kernel's sake, and no callout was asked: that is no result."""
    assert machine.wfplab("run", "large.py", "--queue", "netlink").returncode == 0
    ran = machine.wfplab("run", "large.py", "--queue", "netfilterqueue")
    assert ran.returncode == 1
    assert "'lost': {'shown to no callout, for the queue cuts them off': 1}" in ran.stdout
