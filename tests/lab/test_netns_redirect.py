"""Redirected frames, for real: where they arrive, what rules see of them, and what is refused."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from netns.capture import Capture
from netns.errors import KernelRefused
from netns.lab import Lab
from netns.redirect import CLSACT
from netns.rules import Hook, InstalledRules, Mark, redirect_egress_to_ingress
from tests.lab.wire import Version, Wire, client_router_server, udp_rule


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def version(request: pytest.FixtureRequest) -> Version:
    return cast(Version, request.param)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """client -- router -- server."""
    with client_router_server() as made:
        yield made


def packet_sender(device: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind((device, 0))
    return made


def test_a_redirected_frame_arrives_on_the_target(lab: Lab) -> None:
    router = lab["router"]
    helper = lab.link(router, router, names=("inject0", "inject1"))
    frame = b"\xff" * 6 + b"\x02" * 6 + b"\x88\xb5" + b"arrives".ljust(46)
    with ExitStack() as stack:
        redirect = stack.enter_context(redirect_egress_to_ingress(router, "inject0", "eth0"))
        target = stack.enter_context(Capture(router, "eth0"))
        far = stack.enter_context(Capture(router, "inject1"))
        sender = stack.enter_context(router.open_in(lambda: packet_sender("inject0")))
        sender.send(frame)
        seen = target.until(lambda one: one.octets == frame)
        assert not seen[-1].is_outgoing
        redirect.close()
        sender.send(frame)  # the control: now it leaves by the helper
        assert far.until(lambda one: one.octets == frame)
        assert [one for one in target.drain() if one.octets == frame] == []
    assert helper.a.name == "inject0"


def test_a_redirected_packet_with_mark_is_seen_with_it_by_rules(lab: Lab, version: Version) -> None:
    router = lab["router"]
    lab.link(router, router, names=("inject0", "inject1"))
    rule = udp_rule(version, Hook.PREROUTING, in_interface="eth0", marked=Mark(0x77), bypass=True)
    with ExitStack() as stack:
        wire = stack.enter_context(Wire(lab, version))
        capture = stack.enter_context(Capture(router, "eth0"))
        wire.send(b"a real one")
        real = capture.until(lambda one: b"a real one" in one.octets)[-1]
        assert wire.receive() == b"a real one"
        stack.enter_context(redirect_egress_to_ingress(router, "inject0", "eth0"))
        rules = stack.enter_context(InstalledRules(router, [rule]))
        sender = stack.enter_context(router.open_in(lambda: packet_sender("inject0")))
        # Its checksum was left to a device that never fills it in; without that, the server drops it.
        lab["client"].interface("eth0").set_offloads(False)
        wire.send(b"a real one")
        real = capture.until(lambda one: b"a real one" in one.octets and one.checksum_ready)[-1]
        assert wire.receive() == b"a real one"
        assert rules.matched() == [0]
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x77)
        sender.send(real.octets)
        assert wire.receive() == b"a real one"
        assert rules.matched() == [1]


def test_a_redirect_is_refused_where_it_cannot_be_and_closed_twice(lab: Lab) -> None:
    router = lab["router"]
    pair = lab.link(router, router, names=("inject0", "inject1"))
    with pytest.raises(KernelRefused, match="ENODEV"):
        redirect_egress_to_ingress(router, "inject0", "nosuch0")
    redirect = redirect_egress_to_ingress(router, "inject0", "eth0")
    with pytest.raises(KernelRefused, match="EEXIST"):
        redirect_egress_to_ingress(router, "inject0", "eth0")
    assert "redirect" in router.run(["tc", "filter", "show", "dev", "inject0", "egress"]).stdout.lower()
    redirect.close()
    redirect.close()
    assert "clsact" not in router.run(["tc", "qdisc", "show"]).stdout
    redirect = redirect_egress_to_ingress(router, "inject0", "eth0")
    pair.close()
    redirect.close()
    assert CLSACT == 0xFFFFFFF1
