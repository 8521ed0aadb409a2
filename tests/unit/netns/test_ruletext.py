from __future__ import annotations

from typing import Any

import pytest

from netns.errors import BadName
from netns.iptablesrules import chain_of, iptables_rule, iptables_text
from netns.nftrules import chain_body, exchange_text, nft_rule, nft_rules
from netns.ruletext import Among, Hook, Mark, QueueRule, check_tag

FULL_V4 = QueueRule(
    family=4,
    hook=Hook.FORWARD,
    queue=7,
    exempt=Mark(0x5A000000, 0xFF000000),
    protocol="udp",
    source="192.0.2.9/24",
    destination="198.51.100.1",
    source_ports=(1, 5),
    destination_ports=(53, 53),
    in_interface="eth0",
    out_interface="eth1",
)
FULL_V6 = QueueRule(
    family=6, hook=Hook.OUTPUT, queue=0, protocol="58", destination="2001:db8::/32", out_interface="eth0", bypass=True
)
NONE: frozenset[str] = frozenset()


def test_every_field_of_a_rule_reaches_iptables() -> None:
    assert iptables_rule(FULL_V4) == (
        "-i eth0 -o eth1 -s 192.0.2.0/24 -d 198.51.100.1/32 -p udp --sport 1:5 --dport 53:53 "
        "-m mark ! --mark 0x5a000000/0xff000000 -j NFQUEUE --queue-num 7"
    )
    assert iptables_rule(FULL_V6) == "-o eth0 -d 2001:db8::/32 -p 58 -j NFQUEUE --queue-num 0 --queue-bypass"


def test_every_field_of_a_rule_reaches_nft() -> None:
    assert nft_rule(FULL_V4, by_xtables=False) == (
        'ip saddr 192.0.2.0/24 ip daddr 198.51.100.1/32 iifname "eth0" oifname "eth1" meta l4proto udp '
        "th sport 1-5 th dport 53-53 meta mark and 0xff000000 != 0x5a000000 counter queue num 7"
    )
    assert nft_rule(FULL_V6, by_xtables=False) == (
        'ip6 daddr 2001:db8::/32 oifname "eth0" meta l4proto 58 counter queue flags bypass num 0'
    )


def test_a_rule_without_fields_takes_everything_and_fails_closed() -> None:
    rule = QueueRule(family=4, hook=Hook.INPUT, queue=3)
    assert iptables_rule(rule) == "-j NFQUEUE --queue-num 3"
    assert nft_rule(rule, by_xtables=False) == "counter queue num 3"


def test_a_rule_can_be_for_marked_packets_only() -> None:
    rule = QueueRule(family=4, hook=Hook.INPUT, queue=3, marked=Mark(0x10, 0xF0))
    assert iptables_rule(rule) == "-m mark --mark 0x10/0xf0 -j NFQUEUE --queue-num 3"
    assert nft_rule(rule, by_xtables=False) == "meta mark and 0xf0 == 0x10 counter queue num 3"


def among_of(**fields: Any) -> list[str]:
    """The rules of nft for those that may be wanted."""
    rule = QueueRule(family=fields.pop("family", 4), hook=Hook.OUTPUT, queue=3, among=Among(**fields))
    return nft_rules(rule, 5, by_xtables=False)


def test_packets_that_may_be_wanted_take_several_rules_that_are_told_to_be_one() -> None:
    lines = among_of(marks=(Mark(0x10, 0xF0),), protocols=(17, 6))
    assert lines == [
        'meta mark and 0xf0 == 0x10 counter queue num 3 comment "5"',
        'meta l4proto { 6, 17 } counter queue num 3 comment "5"',
    ]


@pytest.mark.parametrize(
    ("addresses", "test"),
    [
        (("10.0.0.1", "10.0.0.9"), "ip daddr { 10.0.0.1, 10.0.0.9 }"),
        (("10.1.2.3/24", "10.1.3.0/24"), "ip daddr & 255.255.254.0 { 10.1.2.0 }"),
        (
            ("10.1.2.0/24", "10.1.2.7", "10.0.0.1", "10.0.0.2"),
            "ip daddr & 255.255.255.0 { 10.0.0.0, 10.1.2.0 } ip daddr { 10.0.0.1/32, 10.0.0.2/32, 10.1.2.0/24 }",
        ),
        (("fd00::1", "fd01::/64"), "ip6 daddr & ffff:ffff:ffff:ffff:: { fd00::, fd01:: } "
                                   "ip6 daddr { fd00::1/128, fd01::/64 }"),
    ],
)  # fmt: skip
def test_addresses_are_looked_up_by_their_shortest_prefix_first(addresses: tuple[str, ...], test: str) -> None:
    family = 6 if ":" in addresses[0] else 4
    (line,) = among_of(family=family, destinations=addresses)
    assert line.partition(" counter")[0] == test


def test_whatever_has_no_ports_may_be_wanted_where_ports_are_named() -> None:
    lines = [line.partition(" counter")[0] for line in among_of(destination_ports=((53, 53), (54, 55), (80, 80)))]
    assert lines == [
        "th dport { 53, 54, 55, 80 } meta l4proto { tcp, udp }",
        "meta l4proto != udp meta l4proto != tcp",
        "ip frag-off & 0x1fff != 0",
    ]
    assert among_of(source_ports=((1, 60000),))[0].startswith("th sport { 1-60000 } meta")


def test_iptables_takes_what_nobody_may_want_too() -> None:
    rule = QueueRule(family=4, hook=Hook.OUTPUT, queue=3, among=Among(protocols=(6,)))
    assert iptables_rule(rule) == "-j NFQUEUE --queue-num 3"


def test_wanting_nothing_is_no_rule() -> None:
    with pytest.raises(ValueError, match="nothing is wanted"):
        Among()
    with pytest.raises(ValueError, match="first and last"):
        Among(source_ports=((5, 4),))


def test_prerouting_stands_ahead_of_reassembly() -> None:
    rule = QueueRule(family=4, hook=Hook.PREROUTING, queue=1)
    assert iptables_text([rule], 4, "t", NONE).startswith("*raw\n")
    assert "hook prerouting priority -450" in chain_body([rule], 4, Hook.PREROUTING, False)


@pytest.mark.parametrize("hook", [Hook.INPUT, Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING])
def test_other_hooks_stand_in_mangle(hook: Hook) -> None:
    rule = QueueRule(family=6, hook=hook, queue=1)
    assert iptables_text([rule], 6, "t", NONE).startswith("*mangle\n")
    assert f"hook {hook.lower()} priority -150" in chain_body([rule], 6, hook, False)


def test_first_installation_makes_the_chain_and_the_jump() -> None:
    rules = [QueueRule(family=4, hook=Hook.INPUT, queue=1), QueueRule(family=4, hook=Hook.INPUT, queue=2)]
    assert iptables_text(rules, 4, "t", NONE) == (
        "*mangle\n"
        ":WFPLAB-t-INPUT - [0:0]\n"
        "-I INPUT -j WFPLAB-t-INPUT\n"
        "-A WFPLAB-t-INPUT -j NFQUEUE --queue-num 1\n"
        "-A WFPLAB-t-INPUT -j NFQUEUE --queue-num 2\n"
        "COMMIT\n"
    )


def test_replacing_keeps_the_jump_and_exchanges_the_chain() -> None:
    rules = [QueueRule(family=4, hook=Hook.INPUT, queue=2)]
    assert iptables_text(rules, 4, "t", frozenset(["INPUT"])) == (
        "*mangle\n:WFPLAB-t-INPUT - [0:0]\n-A WFPLAB-t-INPUT -j NFQUEUE --queue-num 2\nCOMMIT\n"
    )


def test_removing_takes_jump_and_chain_away() -> None:
    assert iptables_text([], 4, "t", frozenset(["PREROUTING"])) == (
        "*raw\n:WFPLAB-t-PREROUTING - [0:0]\n-D PREROUTING -j WFPLAB-t-PREROUTING\n-X WFPLAB-t-PREROUTING\nCOMMIT\n"
    )


def test_nothing_to_do_is_no_text() -> None:
    other_family = [QueueRule(family=6, hook=Hook.INPUT, queue=2)]
    assert iptables_text(other_family, 4, "t", NONE) == ""


def test_ipv6_input_rules_come_with_what_puts_fragments_together() -> None:
    rules = [QueueRule(family=6, hook=Hook.INPUT, queue=1)]
    text = iptables_text(rules, 6, "t", NONE)
    assert ":WFPLAB-t-GATHER - [0:0]\n" in text
    assert "-A WFPLAB-t-GATHER -p tcp -j TPROXY --on-port 1\n" in text
    assert "-j WFPLAB-t-GATHER" not in text
    assert "-X WFPLAB-t-GATHER\n" in iptables_text([], 6, "t", frozenset(["INPUT", "GATHER"]))
    assert "GATHER" not in iptables_text([QueueRule(family=6, hook=Hook.OUTPUT, queue=1)], 6, "t", NONE)


def test_by_xtables_a_rule_leads_to_the_chain_that_queues() -> None:
    assert nft_rule(QueueRule(family=4, hook=Hook.INPUT, queue=3), by_xtables=True) == "counter goto queue-3"
    assert nft_rule(FULL_V6, by_xtables=True).endswith(" counter goto queue-0-bypass")


def test_nft_empties_what_stood_and_makes_what_is_wanted_in_one_input() -> None:
    assert exchange_text("ip wfplab-t", {"INPUT": "  a\n"}, {"INPUT": "  b\n", "OUTPUT": "  c\n"}) == (
        "flush chain ip wfplab-t INPUT\n"
        "table ip wfplab-t {\n chain INPUT {\n  b\n }\n chain OUTPUT {\n  c\n }\n}\n"
    )
    assert exchange_text("ip wfplab-t", {"INPUT": "  a\n"}, {"INPUT": "  a\n"}) == ""
    assert exchange_text("ip wfplab-t", {"INPUT": "  a\n", "OUTPUT": ""}, {"INPUT": "  a\n"}) == "", "emptied before"


def test_a_chain_body_holds_the_rules_of_its_hook_and_family_in_order() -> None:
    rules = [
        QueueRule(family=6, hook=Hook.INPUT, queue=2),
        QueueRule(family=4, hook=Hook.INPUT, queue=9),
        QueueRule(family=6, hook=Hook.OUTPUT, queue=9),
        QueueRule(family=6, hook=Hook.INPUT, queue=1),
    ]
    assert chain_body(rules, 6, Hook.INPUT, False) == (
        "  type filter hook input priority -150; policy accept;\n  counter queue num 2\n  counter queue num 1\n"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"family": 5},
        {"queue": -1},
        {"queue": 65536},
        {"protocol": "udp\nCOMMIT"},
        {"protocol": "-j"},
        {"source": "2001:db8::1"},
        {"destination": "192.0.2.1\n"},
        {"destination_ports": (1, 2)},
        {"protocol": "icmp", "source_ports": (1, 2)},
        {"protocol": "udp", "source_ports": (5, 2)},
        {"protocol": "udp", "source_ports": (0, 65536)},
        {"hook": Hook.INPUT, "out_interface": "eth0"},
        {"hook": Hook.OUTPUT, "in_interface": "eth0"},
    ],
)
def test_a_rule_that_cannot_be_meant_cannot_be_made(wrong: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"family": 4, "hook": Hook.FORWARD, "queue": 1}
    QueueRule(**fields)
    with pytest.raises(ValueError, match="."):
        QueueRule(**(fields | wrong))


@pytest.mark.parametrize("name", ["eth0\n-j ACCEPT", "", "a" * 16, 'e"', "a b", ".."])
def test_an_interface_name_cannot_carry_more_than_a_name(name: str) -> None:
    with pytest.raises(BadName):
        QueueRule(family=4, hook=Hook.FORWARD, queue=1, in_interface=name)


def test_a_mark_has_no_bits_outside_of_its_mask() -> None:
    assert str(Mark(0x10, 0xF0)) == "0x10/0xf0"
    with pytest.raises(ValueError, match="outside"):
        Mark(0x11, 0xF0)
    with pytest.raises(ValueError, match="outside"):
        Mark(1 << 32, 1 << 32)


@pytest.mark.parametrize("hook", list(Hook))
def test_chain_names_are_ours_and_fit_the_kernel(hook: Hook) -> None:
    name = chain_of("abcdefgh", hook)
    assert name.startswith("WFPLAB-")
    assert len(name) <= 28


@pytest.mark.parametrize("tag", ["", "abcdefghi", "A", "a-b", "a\n"])
def test_a_bad_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="tag"):
        check_tag(tag)
