"""Namespaces and programs in them, for real."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns.errors import BadName, Closed, KernelRefused, NameTaken, NotReady, ProgramFailed, ProgramTimedOut
from netns.inhabitants import identify, inhabitants
from netns.lab import Lab
from netns.namespace import Namespace
from netns.patience import patient

TCP_SERVER = (
    "import socket, time; s = socket.create_server(('', {port})); print('listening', flush=True); time.sleep(600)"
)
UDP_SERVER = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', {port})); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture
def host(lab: Lab) -> Namespace:
    return lab.namespace("host")


def ended(pidfd: int, seconds: float = 5.0) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def open_descriptors() -> list[str]:
    # The one that lists the folder is among them each time, and under the same number.
    return sorted(os.listdir("/proc/self/fd"))


def test_ip_netns_reaches_it_by_name(host: Namespace) -> None:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True, timeout=patient(10))
    assert host.name in listed.stdout
    inside = subprocess.run(
        ["ip", "netns", "exec", host.name, "readlink", "/proc/self/ns/net"],
        capture_output=True,
        text=True,
        check=True,
        timeout=patient(10),
    )
    assert inside.stdout.strip() == f"net:[{host.identity[1]}]"


def test_it_is_not_ours_and_loopback_is_up(host: Namespace) -> None:
    assert host.identity != identify("/proc/self/ns/net")
    assert [(link.name, link.up) for link in host.links()] == [("lo", True)]


def test_opening_inside_leaves_the_caller_where_it_was(host: Namespace) -> None:
    before = identify("/proc/thread-self/ns/net")
    inside = host.open_in(lambda: identify("/proc/thread-self/ns/net"))
    assert inside == host.identity
    assert identify("/proc/thread-self/ns/net") == before


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_socket_opened_inside_works_from_outside(host: Namespace, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.open_in(lambda: socket.socket(family, socket.SOCK_DGRAM)) as receiver:
        receiver.settimeout(patient(5))
        receiver.bind((address, 0))
        with host.open_in(lambda: socket.socket(family, socket.SOCK_DGRAM)) as sender:
            sender.sendto(b"inside", receiver.getsockname()[:2])
        assert receiver.recv(100) == b"inside"
        # The control: the same port of the machine's own loopback is not the one inside.
        with socket.socket(family, socket.SOCK_DGRAM) as outside:
            outside.bind((address, receiver.getsockname()[1]))


def test_what_the_opener_raises_comes_back(host: Namespace) -> None:
    with pytest.raises(ZeroDivisionError):
        host.open_in(lambda: 1 // 0)


def test_run_returns_what_the_program_wrote_and_where_it_was(host: Namespace) -> None:
    done = host.run(["readlink", "/proc/self/ns/net"])
    assert done.stdout.strip() == f"net:[{host.identity[1]}]"
    assert host.run(["cat"], input="grüße").stdout == "grüße"


def test_run_tells_failure_by_default(host: Namespace) -> None:
    with pytest.raises(ProgramFailed, match="no-such-dir") as caught:
        host.run(["ls", "/no-such-dir"])
    assert caught.value.status == 2
    assert host.run(["false"], check=False).returncode == 1


def test_run_that_takes_too_long_is_killed_with_its_children(host: Namespace) -> None:
    with pytest.raises(ProgramTimedOut):
        host.run(["sh", "-c", "sleep 600 & wait"], timeout=0.2)
    # Closing would kill strays too, so look before: nobody lives here.
    left = list(inhabitants({host.identity}))  # somebody may be just ending
    try:
        assert all(ended(pidfd) for _, pidfd in left)
    finally:
        for _, pidfd in left:
            os.close(pidfd)


def test_programs_can_run_as_somebody_else(host: Namespace) -> None:
    assert host.run(["id", "-un"], user="nobody").stdout == "nobody\n"
    assert host.run(["id", "-un"]).stdout == "root\n"
    with pytest.raises(ProgramFailed):
        host.run(["cat", "/etc/shadow"], user="nobody")


def test_sysctl_is_the_namespaces_own(host: Namespace) -> None:
    machines = Path("/proc/sys/net/ipv4/ip_default_ttl").read_text().strip()
    assert host.sysctl("net.ipv4.ip_default_ttl", 77) == "77"
    assert host.sysctl("net.ipv4.ip_default_ttl") == "77"
    assert Path("/proc/sys/net/ipv4/ip_default_ttl").read_text().strip() == machines != "77"
    with pytest.raises(KernelRefused, match="ENOENT"):
        host.sysctl("net.ipv4.no_such_key")


def test_forwarding_is_off_unless_asked_for(lab: Lab) -> None:
    plain, router = lab.namespace("plain"), lab.namespace("router", forwarding=True)
    keys = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    assert [plain.sysctl(key) for key in keys] == ["0", "0"]
    assert [router.sysctl(key) for key in keys] == ["1", "1"]


def test_a_name_in_use_is_refused_and_left_alone(host: Namespace) -> None:
    with pytest.raises(NameTaken, match=host.name):
        Namespace(host.name)
    assert host.run(["true"]).returncode == 0
    assert os.path.exists(host.path)


def test_a_bad_name_is_refused() -> None:
    with pytest.raises(BadName):
        Namespace("../x")


def test_closing_removes_name_descriptors_thread_and_kernel_object(lab: Lab) -> None:
    descriptors, threads = open_descriptors(), threading.active_count()
    namespace = Namespace(f"wfp-{lab.run}-single")
    path = namespace.path
    namespace.links()
    namespace.start(["sleep", "600"])
    namespace.close()
    namespace.close()
    assert not os.path.lexists(path)
    assert open_descriptors() == descriptors
    assert threading.active_count() == threads


def test_a_closed_namespace_refuses_everything(lab: Lab) -> None:
    namespace = Namespace(f"wfp-{lab.run}-single")
    namespace.close()
    for use in (
        namespace.links,
        lambda: namespace.fd,
        lambda: namespace.open_in(lambda: None),
        lambda: namespace.run(["true"]),
        lambda: namespace.sysctl("net.ipv4.ip_forward"),
    ):
        with pytest.raises(Closed, match="single"):
            use()


def test_a_forgotten_namespace_warns(host: Namespace) -> None:
    with pytest.warns(ResourceWarning, match=host.name):
        host.__del__()


@pytest.mark.parametrize(("code", "protocol"), [(TCP_SERVER, "tcp"), (UDP_SERVER, "udp")])
def test_ready_means_that_the_port_is_bound(host: Namespace, code: str, protocol: str) -> None:
    server = host.start([sys.executable, "-c", code.format(port=5353)])
    server.wait_ready(port=5353, protocol="tcp" if protocol == "tcp" else "udp")
    with pytest.raises(NotReady, match="5354"):
        server.wait_ready(port=5354, timeout=0.05)
    if protocol == "tcp":
        with host.open_in(lambda: socket.create_connection(("127.0.0.1", 5353), 5)) as connection:
            assert connection.getpeername() == ("127.0.0.1", 5353)
    assert server.stop() == -signal.SIGTERM


def test_ready_can_be_a_line_of_output(host: Namespace) -> None:
    server = host.start([sys.executable, "-c", TCP_SERVER.format(port=5355)])
    server.wait_ready(output="^listening")
    assert server.output() == "listening\n"
    server.stop()
    assert server.output() == "listening\n"  # kept after the end


def test_a_program_that_ends_before_it_is_ready_says_why(host: Namespace) -> None:
    server = host.start(["sh", "-c", "echo no such config >&2; exit 3"])
    with pytest.raises(ProgramFailed, match="no such config") as caught:
        server.wait_ready(port=1, timeout=30)
    assert caught.value.status == 3
    server.stop()


def test_wait_returns_the_status_or_raises(host: Namespace) -> None:
    good, bad, slow = host.start(["true"]), host.start(["false"]), host.start(["sleep", "600"])
    assert good.wait(5) == 0
    assert bad.wait(5, check=False) == 1
    with pytest.raises(ProgramFailed):
        bad.wait(5)
    with pytest.raises(ProgramTimedOut):
        slow.wait(0.05)
    assert slow.stop() == -signal.SIGTERM
    assert slow.stop() == -signal.SIGTERM


def test_stopping_is_bounded_and_takes_the_whole_group(host: Namespace) -> None:
    shell = f'{sys.executable} -c "{STUBBORN}" & echo $!; wait'
    stubborn = host.start(["sh", "-c", f"trap '' TERM; {shell}"])
    stubborn.wait_ready(output="deaf")
    child = os.pidfd_open(int(next(word for word in stubborn.output().split() if word.isdecimal())))
    try:
        assert stubborn.stop(timeout=0.1) == -signal.SIGKILL
        assert ended(child)
    finally:
        os.close(child)


def test_closing_stops_programs_and_kills_strays(lab: Lab) -> None:
    namespace = Namespace(f"wfp-{lab.run}-single")
    started = namespace.start(["sleep", "600"])
    # A stray: in a session of its own, with no owner but the namespace.
    stray = namespace.start(["sh", "-c", "setsid sleep 600 & echo $!"])
    stray.wait(5)
    descriptors = [os.pidfd_open(started.pid), os.pidfd_open(int(stray.output()))]
    try:
        assert not any(ended(descriptor, 0) for descriptor in descriptors)
        namespace.close()
        assert all(ended(descriptor) for descriptor in descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
