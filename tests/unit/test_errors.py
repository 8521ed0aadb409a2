"""The tree of refusals: one leaf per status, drawn as it is."""

from __future__ import annotations

import pickle
import re

import pytest

from emulator import errors
from emulator.errors import InjectHandleStale, WfpError
from emulator.ntstatus import NtStatus

LEAVES = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, WfpError)]
LEAVES.remove(WfpError)


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_refusal_carries_its_status_and_the_rule(leaf: type[WfpError]) -> None:
    refusal = leaf("handle 3 is closing", rule="HD-4")
    assert refusal.rule == "HD-4"
    assert refusal.status is leaf.status
    assert str(refusal) == f"handle 3 is closing (HD-4: {leaf.status.windows_name})"


def test_no_two_refusals_share_a_status() -> None:
    statuses = [leaf.status for leaf in LEAVES]
    assert len(set(statuses)) == len(statuses)
    assert NtStatus.SUCCESS not in statuses
    assert NtStatus.PENDING not in statuses


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +([A-Z_]{4,})", errors.__doc__ or ""))
    assert drawn == {leaf.__name__: leaf.status.name for leaf in LEAVES}


def test_a_leaf_is_named_after_its_status() -> None:
    named_otherwise = {"NotImplementedInProfile"}
    for leaf in LEAVES:
        words = "".join(word.capitalize() for word in leaf.status.name.split("_"))
        assert leaf.__name__ in {words, words.removeprefix("Fwp")} | named_otherwise


def test_the_base_is_never_raised() -> None:
    with pytest.raises(TypeError, match="abstract"):
        WfpError("something", rule="GE-7")


def test_a_refusal_survives_the_way_from_a_worker_process() -> None:
    refusal = pickle.loads(pickle.dumps(InjectHandleStale("no NETWORK", rule="HC-9")))
    assert (type(refusal), refusal.args, refusal.rule) == (InjectHandleStale, ("no NETWORK",), "HC-9")
