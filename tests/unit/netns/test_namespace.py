from __future__ import annotations

import pytest

from netns.errors import BadName
from netns.interface import check_device_name
from netns.namespace import check_name
from netns.settings import path_of


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "-x", "a b", "a\n", "a" * 64, "ä"])
def test_a_namespace_name_cannot_lead_elsewhere(name: str) -> None:
    with pytest.raises(BadName):
        check_name(name)


@pytest.mark.parametrize("name", ["wfp-0badcafe-client", "a", "a.b_c-d", "a" * 63])
def test_ordinary_namespace_names_pass(name: str) -> None:
    assert check_name(name) == name


def test_device_names_have_fifteen_characters_at_most() -> None:
    assert check_device_name("a" * 15) == "a" * 15
    with pytest.raises(BadName, match="15"):
        check_device_name("a" * 16)


def test_sysctl_keys_take_dots_or_slashes() -> None:
    assert path_of("net.ipv4.ip_forward") == "/proc/sys/net/ipv4/ip_forward"
    assert path_of("net/ipv4/conf/eth0.5/rp_filter") == "/proc/sys/net/ipv4/conf/eth0.5/rp_filter"


@pytest.mark.parametrize("key", ["kernel.core_pattern", "net.../x", "net/../kernel/x", "", "/etc/passwd", "net"])
def test_only_keys_of_the_network_are_reachable(key: str) -> None:
    with pytest.raises(BadName, match="net"):
        path_of(key)
