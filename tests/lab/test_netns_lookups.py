"""Sockets and routes of a namespace, asked of the kernel by the ends of a packet."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from netns.errors import Closed
from netns.lab import Lab
from netns.namespace import Namespace
from netns.routelookup import RTN_LOCAL, RTN_MULTICAST, RTN_UNICAST, RouteLookup
from netns.sockets import TCP, UDP, SocketLookup

LINUX = {4: socket.AF_INET, 6: socket.AF_INET6}
HERE = {4: "10.0.0.1", 6: "fd00::1"}
THERE = {4: "10.0.0.2", 6: "fd00::2"}
ANY = {4: "0.0.0.0", 6: "::"}
SO_COOKIE = 57


def octets(version: int, text: str) -> bytes:
    return socket.inet_pton(LINUX[version], text)


@pytest.fixture(params=[4, 6])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A namespace with one link to another."""
    with Lab() as lab:
        here, there = lab.namespace("here"), lab.namespace("there")
        lab.link(here, there, addresses=(["10.0.0.1/24", "fd00::1/64"], ["10.0.0.2/24", "fd00::2/64"]))
        yield here


@pytest.fixture
def sockets(host: Namespace) -> Iterator[SocketLookup]:
    lookup = SocketLookup(host)
    yield lookup
    lookup.close()


@pytest.fixture
def routes(host: Namespace) -> Iterator[RouteLookup]:
    lookup = RouteLookup(host)
    yield lookup
    lookup.close()


def opened(host: Namespace, family: int, kind: int, address: str, port: int = 0) -> socket.socket:
    made = host.open_in(lambda: socket.socket(family, kind))
    made.bind((address, port))
    return made


def cookie_of(item: socket.socket) -> bytes:
    return item.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)


def test_a_datagram_socket_is_found_by_exact_and_by_wildcard_ends(
    host: Namespace, sockets: SocketLookup, version: int
) -> None:
    near, far = octets(version, HERE[version]), octets(version, THERE[version])
    assert sockets.find(UDP, near, 5000, far, 9) is None
    with opened(host, LINUX[version], socket.SOCK_DGRAM, ANY[version], 5000) as wild:
        found = sockets.find(UDP, near, 5000, far, 9)
        assert found is not None
        assert (found.cookie, found.inode) == (cookie_of(wild), os.fstat(wild.fileno()).st_ino)
        assert (found.local_port, found.remote_port, any(found.local)) == (5000, 0, False)
        assert sockets.find(UDP, near, 5001, far, 9) is None
        wild.connect((THERE[version], 9))
        found = sockets.find(UDP, near, 5000, far, 9)
        assert found is not None
        assert (found.local, found.remote, found.remote_port) == (near, far, 9)
        assert sockets.find(UDP, near, 5000, far, 10) is None, "connected to another port"
    assert sockets.find(UDP, near, 5000, far, 9) is None


def test_a_dual_stack_socket_is_found_by_ipv4_ends(host: Namespace, sockets: SocketLookup) -> None:
    near, far = octets(4, HERE[4]), octets(4, THERE[4])
    with opened(host, socket.AF_INET6, socket.SOCK_DGRAM, "::", 5000) as both:
        found = sockets.find(UDP, near, 5000, far, 9)
        assert found is not None
        assert (found.cookie, found.family, len(found.local)) == (cookie_of(both), socket.AF_INET6, 4)
    with host.open_in(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as only:
        only.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        only.bind(("::", 5000))
        assert sockets.find(UDP, near, 5000, far, 9) is None


def test_a_socket_bound_to_a_device_counts_for_that_device(
    host: Namespace, sockets: SocketLookup, version: int
) -> None:
    near, far = octets(version, HERE[version]), octets(version, THERE[version])
    with opened(host, LINUX[version], socket.SOCK_DGRAM, ANY[version], 5000) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        index = host.index_of("eth0")
        found = sockets.find(UDP, near, 5000, far, 9, index)
        assert found is not None
        assert found.interface == index
        assert sockets.find(UDP, near, 5000, far, 9, 1) is None


def test_a_connection_is_found_before_its_listener_and_can_be_ended(
    host: Namespace, sockets: SocketLookup, version: int
) -> None:
    near = octets(version, HERE[version])
    with opened(host, LINUX[version], socket.SOCK_STREAM, HERE[version], 7000) as listener:
        listener.listen()
        found = sockets.find(TCP, near, 7000, near, 1)
        assert found is not None
        assert found.cookie == cookie_of(listener)
        with host.open_in(lambda: socket.socket(LINUX[version], socket.SOCK_STREAM)) as client:
            client.connect((HERE[version], 7000))
            port = client.getsockname()[1]
            found = sockets.find(TCP, near, port, near, 7000)
            assert found is not None
            assert (found.cookie, found.remote_port) == (cookie_of(client), 7000)
            server, _ = listener.accept()
            with server:
                assert sockets.destroy(TCP, near, port, near, 7000)
                with pytest.raises(ConnectionAbortedError):
                    client.recv(1)
                with pytest.raises(ConnectionResetError):
                    server.recv(1)
    assert not sockets.destroy(TCP, near, 7000, near, 1)


def test_raw_sockets_are_told_by_protocol_and_inode(host: Namespace, sockets: SocketLookup, version: int) -> None:
    size = 4 if version == 4 else 16
    assert sockets.raw(size) == []
    with host.open_in(lambda: socket.socket(LINUX[version], socket.SOCK_RAW, 255)) as raw:
        [found] = sockets.raw(size)
        assert (found.inode, found.protocol) == (os.fstat(raw.fileno()).st_ino, 255)
        assert found.local == found.remote == bytes(size)
        assert sockets.raw(20 - size) == []
    with host.open_in(lambda: socket.socket(LINUX[version], socket.SOCK_RAW, 99)) as bound:
        bound.bind((HERE[version], 0))
        [found] = sockets.raw(size)
        assert (found.protocol, found.local) == (99, octets(version, HERE[version]))
    assert sockets.raw(size) == []


def test_a_closed_lookup_says_so(host: Namespace) -> None:
    sockets, routes = SocketLookup(host), RouteLookup(host)
    for lookup in (sockets, routes):
        lookup.close()
        lookup.close()
    with pytest.raises(Closed):
        sockets.find(UDP, bytes(4), 1, bytes(4), 2)
    with pytest.raises(Closed):
        sockets.raw(4)
    with pytest.raises(Closed):
        routes.find(bytes(4))


def test_a_route_tells_interface_source_gateway_and_mtu(host: Namespace, routes: RouteLookup, version: int) -> None:
    near, far = octets(version, HERE[version]), octets(version, THERE[version])
    eth0 = host.index_of("eth0")
    assert routes.find(far) == (RTN_UNICAST, eth0, near, b"", 0)
    if version == 4:  # for IPv6 the kernel says one or the other
        local = routes.find(near)
        assert local is not None
        assert (local.kind, local.interface) == (RTN_LOCAL, 1)
    beyond = octets(version, "10.5.0.1" if version == 4 else "fd05::1")
    assert routes.find(beyond) is None
    prefix = "10.5.0.0/16" if version == 4 else "fd05::/64"
    host.run(["ip", "route", "add", prefix, "via", THERE[version], "mtu", "1290"])
    assert routes.find(beyond) == (RTN_UNICAST, eth0, near, far, 1290)
    assert routes.find(beyond, interface=eth0) == (RTN_UNICAST, eth0, near, far, 1290)
    host.run(["ip", "route", "add", "unreachable", "10.6.0.0/16" if version == 4 else "fd06::/64"])
    assert routes.find(octets(version, "10.6.0.1" if version == 4 else "fd06::1")) is None


def test_a_multicast_address_has_a_route_of_its_kind(host: Namespace, routes: RouteLookup) -> None:
    eth0 = host.index_of("eth0")
    found = routes.find(octets(6, "ff02::1"), interface=eth0)
    assert found is not None
    assert (found.kind, found.interface) == (RTN_MULTICAST, eth0)
