"""The probes find what is there, and miss what is not."""

from __future__ import annotations

import shutil
import socket

import pytest

from netns import features, probes, rootless
from netns.errors import KernelRefused, MissingFeature, NotPermitted
from netns.features import Feature, probe_all
from netns.lab import Lab
from netns.namespace import Namespace
from netns.nftrules import nft_has_queue

PATHS = {"network", "transport", "forward", "stream", "lab"}


@pytest.fixture(scope="module")
def found() -> dict[str, Feature]:
    told: list[Feature] = []
    features = probe_all(told.append)
    assert told == features
    names = [feature.name for feature in features]
    assert len(names) == len(set(names))
    return {feature.name: feature for feature in features}


def test_what_this_suite_uses_is_there(found: dict[str, Feature]) -> None:
    # Each of these is used by a test of this folder, which passes or fails on its own.
    for name in (
        "network namespaces",
        "veth pairs between namespaces",
        "bridge",
        "flock leases",
        "packet sockets (AF_PACKET)",
        "tc clsact with mirred ingress redirect",
        "raw IPv4 with own header and mark",
        "raw IPv6 with own header and mark",
        "NFQUEUE IPv4",
        "NFQUEUE IPv6",
        "ip rule on a mark, to a local route",
        "sock_diag look-up",
        "program setpriv",
    ):
        assert found[name].available, found[name]
        found[name].require()


def test_every_feature_says_who_needs_it(found: dict[str, Feature]) -> None:
    assert len(found) > 40
    for feature in found.values():
        assert feature.needed_by
        assert set(feature.needed_by) <= PATHS


def test_what_is_missing_says_why(found: dict[str, Feature]) -> None:
    for feature in found.values():
        if not feature.available:
            assert feature.detail or " by " not in feature.name, feature
            with pytest.raises(MissingFeature) as caught:
                feature.require()
            assert feature.name in str(caught.value)


def test_nft_queue_is_judged_as_the_rules_judge_it(found: dict[str, Feature]) -> None:
    with Lab() as lab:
        assert found["NFQUEUE IPv4 by nft"].available is nft_has_queue(lab.namespace("a"))


def test_one_way_of_two_is_enough(found: dict[str, Feature]) -> None:
    for version in (4, 6):
        ways = [found[f"NFQUEUE IPv{version} by {program}"] for program in ("nft", "nft and xtables", "iptables")]
        assert found[f"NFQUEUE IPv{version}"].available is any(way.available for way in ways)
        assert not any(way.is_fatal for way in ways)
        assert found[f"NFQUEUE IPv{version}"].fallback is None


def test_a_program_that_is_not_there_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which

    def without_dig(name: str, path: str | None = None) -> str | None:
        return None if name == "dig" else real(name, path=path)

    monkeypatch.setattr(shutil, "which", without_dig)
    dig = next(feature for feature in probe_all() if feature.name == "program dig")
    assert not dig.available
    assert "not found" in dig.detail


def test_a_kernel_without_queues_is_seen_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Namespace.run

    def without_queue(self: Namespace, argv: list[str], **options: object) -> object:
        text = options.get("input")
        if isinstance(text, str):
            # Neither program may be asked for a queue, nor led to one that was made by netlink.
            for word in ("-j NFQUEUE", "goto queue", "queue num"):
                text = text.replace(word, "no-such-thing")
            options["input"] = text
        return real(self, argv, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Namespace, "run", without_queue)
    found = {feature.name: feature for feature in probe_all()}
    assert not any(found[f"NFQUEUE IPv{version}"].available for version in (4, 6))
    assert found["NFQUEUE IPv4"].is_fatal


def test_a_mark_that_netfilter_does_not_see_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = probes._raw

    def unmarked(namespace: Namespace, version: int) -> socket.socket:
        sock = real(namespace, version)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0)
        return sock

    monkeypatch.setattr(probes, "_raw", unmarked)
    found = {feature.name: feature for feature in probe_all()}
    for version in (4, 6):
        feature = found[f"raw IPv{version} with own header and mark"]
        assert not feature.available
        assert "did not see the mark" in feature.detail


def test_without_namespaces_all_else_is_missing_for_that_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> object:
        raise KernelRefused("creating network namespace x", 28)

    monkeypatch.setattr("netns.lab.Namespace", refuses)
    apart = ("program ", rootless.FEATURE)
    told = [feature for feature in features.probe_all() if not feature.name.startswith(apart)]
    assert not any(feature.available for feature in told)
    assert any(feature.is_fatal for feature in told)
    assert "ENOSPC" in told[0].detail


def test_without_root_the_caller_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> object:
        raise NotPermitted("creating network namespace x")

    monkeypatch.setattr("netns.lab.Namespace", refuses)
    with pytest.raises(NotPermitted, match="root"):
        probe_all()
