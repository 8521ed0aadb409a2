"""Divert rules, for real: which packets reach a queue, which pass, and what is left afterwards."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, cast

import pytest

from netns.errors import Closed, KernelRefused, ProgramFailed
from netns.lab import Lab
from netns.namespace import Namespace
from netns.nftcompat import add_queue_chains
from netns.nftrules import can_gather, nft_has_queue
from netns.probequeue import ProbeQueue
from netns.rules import Backend, Hook, InstalledRules, Mark, choose_backend
from tests.lab.wire import CLIENT, PORT, SERVER, Version, Wire, client_router_server, udp_rule

WHERE = {
    Hook.PREROUTING: "router",
    Hook.INPUT: "server",
    Hook.FORWARD: "router",
    Hook.OUTPUT: "client",
    Hook.POSTROUTING: "router",
}


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def version(request: pytest.FixtureRequest) -> Version:
    return cast(Version, request.param)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """client -- router -- server."""
    with client_router_server() as made:
        yield made


@pytest.fixture(params=list(Backend), ids=lambda backend: backend.name.lower())
def backend(request: pytest.FixtureRequest, lab: Lab) -> Backend:
    wanted = cast(Backend, request.param)
    if wanted is Backend.NFT and not nft_has_queue(lab["client"]):
        pytest.skip("missing feature: nft queue")
    return wanted


@pytest.mark.parametrize("hook", list(Hook))
def test_a_packet_meets_the_queue_of_its_hook_once(lab: Lab, version: Version, backend: Backend, hook: Hook) -> None:
    host = lab[WHERE[hook]]
    with ExitStack() as stack:
        wire = stack.enter_context(Wire(lab, version))
        queue = stack.enter_context(host.open_in(lambda: ProbeQueue(7)))
        rules = stack.enter_context(InstalledRules(host, [udp_rule(version, hook)], backend=backend))
        wire.send(b"held")
        assert b"held" in queue.accept_one()
        assert wire.receive() == b"held"
        assert rules.matched() == [1]
        rules.close()
        wire.send(b"free")  # the control: without the rule nobody needs to let it go
        assert wire.receive() == b"free"


def test_where_nobody_listens_packets_are_dropped(lab: Lab, version: Version, backend: Backend) -> None:
    with (
        Wire(lab, version) as wire,
        InstalledRules(lab["router"], [udp_rule(version, Hook.FORWARD)], backend=backend) as rules,
    ):
        wire.send(b"lost")
        rules.replace([])
        wire.send(b"canary")
        assert wire.receive() == b"canary"


def test_where_nobody_listens_packets_pass_a_bypass_rule(lab: Lab, version: Version, backend: Backend) -> None:
    with (
        Wire(lab, version) as wire,
        InstalledRules(lab["router"], [udp_rule(version, Hook.FORWARD, bypass=True)], backend=backend) as rules,
    ):
        wire.send(b"passes")
        assert wire.receive() == b"passes"
        assert rules.matched() == [1]


def test_an_exempt_mark_passes_by_under_its_mask(lab: Lab, version: Version, backend: Backend) -> None:
    rule = udp_rule(version, Hook.OUTPUT, exempt=Mark(0x5A000000, 0xFF000000))
    with Wire(lab, version) as wire, InstalledRules(lab["client"], [rule], backend=backend) as rules:
        wire.send(b"other magic", mark=0x5B000001)
        wire.send(b"no mark")
        wire.send(b"exempt", mark=0x5A000001)
        assert wire.receive() == b"exempt"
        assert rules.matched() == [2]


def test_only_marked_packets_are_taken_if_so_asked(lab: Lab, version: Version, backend: Backend) -> None:
    rule = udp_rule(version, Hook.OUTPUT, marked=Mark(0x5A000000, 0xFF000000))
    with Wire(lab, version) as wire, InstalledRules(lab["client"], [rule], backend=backend) as rules:
        wire.send(b"marked", mark=0x5A000001)
        wire.send(b"no mark")
        assert wire.receive() == b"no mark"
        assert rules.matched() == [1]


@pytest.mark.parametrize(
    ("fields", "is_met"),
    [
        ({}, True),
        ({"protocol": None, "destination_ports": None}, True),
        ({"protocol": "17"}, None),
        ({"protocol": "tcp"}, False),
        ({"destination_ports": (PORT + 1, 65535)}, False),
        ({"destination_ports": (0, PORT)}, True),
        ({"source_ports": (0, 1023)}, False),
        ({"source_ports": (1024, 65535)}, True),
        ({"in_interface": "eth0"}, True),
        ({"in_interface": "eth1"}, False),
        ({"out_interface": "eth1"}, True),
        ({"out_interface": "eth0"}, False),
        ({"source": CLIENT}, True),
        ({"source": SERVER}, False),
        ({"destination": SERVER}, True),
        ({"destination": CLIENT}, False),
    ],
    ids=str,
)
def test_each_match_takes_what_it_says(
    lab: Lab, version: Version, backend: Backend, fields: dict[str, Any], is_met: bool | None
) -> None:
    if is_met is None:  # ports need a named protocol
        fields, is_met = fields | {"destination_ports": None}, True
    of_family = {key: value[version] if isinstance(value, dict) else value for key, value in fields.items()}
    rule = udp_rule(version, Hook.FORWARD, **of_family, bypass=True)
    with Wire(lab, version) as wire, InstalledRules(lab["router"], [rule], backend=backend) as rules:
        wire.send(b"passes")
        assert wire.receive() == b"passes"
        (taken,) = rules.matched()
        assert bool(taken) is is_met  # a rule without protocol may have taken ND as well


def test_prerouting_sees_fragments_and_input_the_whole(lab: Lab, version: Version, backend: Backend) -> None:
    anything: dict[str, Any] = {"protocol": None, "destination_ports": None, "bypass": True}
    match: dict[str, Any] = {"source": CLIENT[version], "destination": SERVER[version]}
    rules = [udp_rule(version, hook, **anything, **match) for hook in (Hook.PREROUTING, Hook.INPUT)]
    with Wire(lab, version) as wire, InstalledRules(lab["server"], rules, backend=backend) as installed:
        wire.send(bytes(4000))
        assert wire.receive() == bytes(4000)
        # By iptables alone, IPv6 fragments are put together ahead of both or behind both; we say ahead.
        together = version == 6 and backend is Backend.IPTABLES
        assert installed.matched() == ([1, 1] if together else [3, 1])


def test_the_first_rule_that_matches_has_the_packet(lab: Lab, version: Version, backend: Backend) -> None:
    first = udp_rule(version, Hook.INPUT, queue=1, bypass=True)
    second = udp_rule(version, Hook.INPUT, queue=2)
    with Wire(lab, version) as wire, InstalledRules(lab["server"], [first, second], backend=backend) as rules:
        wire.send(b"passes")
        assert wire.receive() == b"passes"
        assert rules.matched() == [1, 0]
        rules.replace([second, first])
        wire.send(b"lost")
        rules.replace([])
        wire.send(b"canary")
        assert wire.receive() == b"canary"


def test_no_packet_slips_through_while_rules_are_replaced(lab: Lab, version: Version, backend: Backend) -> None:
    rounds = 15
    with (
        Wire(lab, version) as wire,
        InstalledRules(lab["router"], [udp_rule(version, Hook.FORWARD, queue=1)], backend=backend) as rules,
    ):
        stop = threading.Event()
        sent = [0]

        def flood() -> None:
            while not stop.wait(0.0002):
                wire.send(b"must not pass")
                sent[0] += 1

        sender = threading.Thread(target=flood)
        sender.start()
        try:
            for queue in range(rounds):
                rules.replace([udp_rule(version, Hook.FORWARD, queue=queue), udp_rule(version, Hook.FORWARD)])
        finally:
            stop.set()
            sender.join()
        assert sent[0] > rounds
        rules.replace([])
        wire.send(b"canary")
        assert wire.receive() == b"canary"


def test_hooks_and_families_can_come_and_go(lab: Lab, backend: Backend) -> None:
    host = lab["router"]
    everything = [udp_rule(family, hook) for family in cast(tuple[Version, ...], (4, 6)) for hook in Hook]
    with InstalledRules(host, everything, backend=backend) as rules:
        assert rules.matched() == [0] * 10
        for wanted in (everything[:1], everything[5:7], [], everything[3:9], everything):
            rules.replace(wanted)
            assert rules.rules == tuple(wanted)
            assert rules.matched() == [0] * len(wanted)
    assert "wfplab" not in saved(host).lower()


def test_two_sets_and_strangers_rules_stay_apart(lab: Lab, backend: Backend) -> None:
    host = lab["router"]
    strangers = "INPUT -p tcp --dport 99 -j ACCEPT"
    host.run(["iptables", "-t", "mangle", "-A", *strangers.split()])
    with InstalledRules(host, [udp_rule(4, Hook.INPUT, queue=1)], backend=backend, tag="one"):
        with InstalledRules(host, [udp_rule(4, Hook.INPUT, queue=2)], backend=backend, tag="two") as two:
            two.replace([udp_rule(4, Hook.INPUT, queue=3)])
            both = saved(host)
        assert re.search(r"(queue-num|queue to|queue num) 1\b", both)
        assert re.search(r"(queue-num|queue to|queue num) 3\b", both)
        assert not re.search(r"(queue-num|queue to|queue num) 3\b", saved(host))
    left = host.run(["iptables-save", "-t", "mangle"]).stdout
    assert "--dport 99" in left
    assert "wfplab" not in saved(host).lower()


def test_closing_twice_or_after_the_namespace_is_allowed_and_use_is_refused(lab: Lab, backend: Backend) -> None:
    host = lab["router"]
    rules = InstalledRules(host, [udp_rule(4, Hook.INPUT)], backend=backend)
    rules.close()
    rules.close()
    with pytest.raises(Closed):
        rules.replace([])
    rules = InstalledRules(host, [udp_rule(4, Hook.INPUT)], backend=backend)
    host.close()
    rules.close()


def test_a_refused_rule_raises_and_leaves_nothing(lab: Lab, backend: Backend) -> None:
    host = lab["router"]
    bad = udp_rule(4, Hook.INPUT, protocol="nosuchprotocol", destination_ports=None)
    with pytest.raises(ProgramFailed, match="nosuchprotocol"):
        InstalledRules(host, [udp_rule(4, Hook.PREROUTING), udp_rule(6, Hook.INPUT), bad], backend=backend)
    assert "wfplab" not in saved(host).lower()


def test_what_the_kernel_refuses_by_netlink_is_raised(lab: Lab) -> None:
    with pytest.raises(KernelRefused, match="NFQUEUE"):
        add_queue_chains(lab["router"], 4, "t" * 300, [(1, False)])


def test_a_bad_tag_is_refused_before_anything_is_done(lab: Lab) -> None:
    with pytest.raises(ValueError, match="tag"):
        InstalledRules(lab["router"], [], tag="Not Good")


def test_some_backend_is_chosen_by_trying(lab: Lab) -> None:
    host = lab["router"]
    with InstalledRules(host, [udp_rule(4, Hook.INPUT)]) as rules:
        assert rules.backend is choose_backend(host)
        assert (rules.backend is Backend.NFT) is nft_has_queue(host)
    assert "probe" not in host.run(["nft", "list", "tables"]).stdout


# By iptables alone, forwarded IPv6 fragments are put together too.
@pytest.mark.parametrize("backend", [Backend.NFT, Backend.NFT_XTABLES], indirect=True, ids=["nft", "nft_xtables"])
def test_forwarded_fragments_stay_as_they_came_while_our_own_are_put_together(lab: Lab, backend: Backend) -> None:
    assert can_gather(lab["router"])
    hooks = (Hook.PREROUTING, Hook.FORWARD, Hook.INPUT, Hook.POSTROUTING)
    match: dict[str, Any] = {"protocol": None, "destination_ports": None, "bypass": True}
    rules = [udp_rule(6, hook, **match, source=CLIENT[6]) for hook in hooks]
    with Wire(lab, 6) as wire, InstalledRules(lab["router"], rules, backend=backend) as installed:
        wire.send(bytes(4000))
        assert wire.receive() == bytes(4000)
        before = installed.matched()
        assert [before[1], before[3]] == [3, 3]
        lab["client"].run(["ping", "-c1", "-W5", "-s", "4000", "2001:db8::2"])
        after = installed.matched()
        assert after[0] - before[0] >= 3
        assert after[2] - before[2] in (1, 2)  # the request, and maybe a neighbour's question


class AcceptInstead:
    """A namespace in whose nft rules `queue` is `accept`, to try the rest of them on any kernel."""

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.name = namespace.name

    def run(self, argv: list[str], *, input: str | None = None) -> subprocess.CompletedProcess[str]:
        text = None if input is None else re.sub(r"queue (flags bypass )?num \d+", "accept", input)
        return self.namespace.run(argv, input=text)


def test_the_nft_rules_but_for_queue_work_on_every_kernel(lab: Lab, version: Version) -> None:
    host = lab["router"]
    stand_in = cast(Namespace, AcceptInstead(host))
    full = udp_rule(
        version,
        Hook.FORWARD,
        exempt=Mark(0x5A000000, 0xFF000000),
        source=CLIENT[version],
        destination=SERVER[version],
        source_ports=(1, 65535),
        in_interface="eth0",
        out_interface="eth1",
        bypass=True,
    )
    others = [udp_rule(version, hook) for hook in Hook]
    with Wire(lab, version) as wire, InstalledRules(stand_in, [full, *others], backend=Backend.NFT) as rules:
        wire.send(b"passes")
        assert wire.receive() == b"passes"
        # PREROUTING, FORWARD (the first one only) and POSTROUTING of the router.
        assert rules.matched() == [1, 1, 0, 0, 0, 1]
        rules.replace(others[:1])
        assert rules.matched() == [0]
    assert "wfplab" not in saved(host)
    assert nft_has_queue(stand_in), "the probe's own text is wrong"


def saved(host: Namespace) -> str:
    """All rules of a namespace as text."""
    programs = (["nft", "list", "ruleset"], ["iptables-save"], ["ip6tables-save"])
    return "".join(host.run(program).stdout for program in programs)
