"""The plugin records what ran, forgets what is no more, and claims nothing for what did not run."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from emulator.contract.results import RESULTS, load
from emulator.contract.rules import Status
from tests.unit.contract.conftest import Tree

pytest_plugins = ["pytester"]

XDIST = ("-p", "xdist.plugin")


ENDS = """
@rule("GE-1", "HC-2")
def test_passes(): pass

@rule("GE-2")
def test_fails(): assert False

@rule("GE-3")
@pytest.mark.skip
def test_is_skipped(): pass

@rule("GE-4")
def test_skips_itself(): pytest.skip()

@rule("GE-5")
@pytest.mark.xfail
def test_is_known_to_fail(): assert False

@rule("GE-6")
@pytest.mark.xfail
def test_passes_unexpectedly(): pass

@rule("GE-7")
@pytest.mark.xfail(strict=True)
def test_passes_unexpectedly_though_strict(): pass

@pytest.fixture
def broken(): raise RuntimeError

@rule("GE-8")
def test_cannot_be_set_up(broken): pass

@pytest.fixture
def leaking():
    yield
    raise RuntimeError

@rule("GE-9")
def test_cannot_be_torn_down(leaking): pass

def test_names_no_rule(): pass
"""

ENDED = {
    "test_a.py::test_passes": "passed",
    "test_a.py::test_fails": "failed",
    "test_a.py::test_is_skipped": "skipped",
    "test_a.py::test_skips_itself": "skipped",
    "test_a.py::test_is_known_to_fail": "xfailed",
    "test_a.py::test_passes_unexpectedly": "xpassed",
    "test_a.py::test_passes_unexpectedly_though_strict": "failed",
    "test_a.py::test_cannot_be_set_up": "failed",
    "test_a.py::test_cannot_be_torn_down": "failed",
}

NINE = [f"GE-{number}" for number in range(1, 10)]


class TestOneRun:
    def test_every_way_to_end_is_recorded_and_only_a_pass_covers(self, tree: Tree) -> None:
        tree.write(test_a=ENDS)
        tree.run()
        assert tree.outcomes() == ENDED
        assert tree.statuses(*NINE) == [Status.COVERED] + [Status.UNCOVERED] * 8
        assert tree.statuses("HC-2") == [Status.COVERED]

    def test_a_record_says_what_when_and_of_which_file(self, tree: Tree) -> None:
        tree.write(test_a='@rule("GE-1", "HC-2")\n@rule("GE-1")\ndef test_one(): pass')
        tree.run()
        (proof,) = load(tree.pytester.path).values()
        assert (proof.node, proof.file) == ("test_a.py::test_one", "test_a.py")
        assert sorted(proof.rules) == ["GE-1", "HC-2"]
        assert proof.ended is not None
        assert proof.ended.startswith("20")
        assert proof.ended.endswith("+00:00")

    @pytest.mark.parametrize("options", [(), (*XDIST, "-n", "2")])
    def test_acceptance_cases_are_recorded_too_also_of_a_test_that_names_no_rule(
        self, tree: Tree, options: tuple[str, ...]
    ) -> None:
        tree.write(
            test_a='@pytest.mark.case("B01", "B02")\ndef test_one(): pass\n\n'
            '@rule("GE-1")\n@pytest.mark.case("B03")\ndef test_two(): assert False\n'
        )
        tree.run(*options)
        found = {(proof.cases, proof.rules, proof.outcome.value) for proof in load(tree.pytester.path).values()}
        assert found == {(("B01", "B02"), (), "passed"), (("B03",), ("GE-1",), "failed")}

    def test_marks_of_class_module_and_parameter_count(self, tree: Tree) -> None:
        tree.write(
            test_a="""
pytestmark = rule("GE-1")

@rule("GE-2")
class TestIt:
    @pytest.mark.parametrize("x", [pytest.param(1, marks=rule("GE-3")), 2])
    def test_one(self, x): assert x == 1
"""
        )
        tree.run()
        rules = {node: set(proof.rules) for node, proof in load(tree.pytester.path).items()}
        assert rules == {
            "test_a.py::TestIt::test_one[1]": {"GE-1", "GE-2", "GE-3"},
            "test_a.py::TestIt::test_one[2]": {"GE-1", "GE-2"},
        }
        assert tree.statuses("GE-1", "GE-3") == [Status.UNCOVERED, Status.COVERED]

    @pytest.mark.parametrize(
        ("marker", "complaint"),
        [
            ('@rule("GE-1", "GE-999")', "no such contract rule: 'GE-999'"),
            ("@rule(1)", "no such contract rule: 1"),
            ('@rule(["GE-1"])', "no such contract rule: *GE-1*"),
            ("@pytest.mark.rule", "must name rules"),
            ("@rule()", "must name rules"),
            ('@rule("GE-1", reason="x")', "must name rules and nothing else"),
        ],
    )
    @pytest.mark.parametrize("class_", ["", "class TestIt:\n    "])
    def test_a_wrong_marker_is_a_collection_error_of_its_file(
        self, tree: Tree, marker: str, complaint: str, class_: str
    ) -> None:
        lines = f"{class_}{marker}\n{'    ' if class_ else ''}def test_one(*_): pass"
        tree.write(test_a=lines, test_b="def test_two(): pass")
        result = tree.run()
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(["*ERROR collecting test_a.py*", f"*test_one*{complaint}*"])
        result.assert_outcomes(errors=1)

    def test_only_looking_records_nothing(self, tree: Tree) -> None:
        tree.write(test_a=ENDS)
        tree.run("--collect-only")
        assert not (tree.pytester.path / RESULTS).exists()

    def test_a_tree_that_cannot_be_written_is_said_and_does_not_fail_the_run(self, tree: Tree) -> None:
        tree.write(test_a='@rule("GE-1")\ndef test_one(): pass')
        (tree.pytester.path / RESULTS.parent).write_text("a file, no folder")
        result = tree.run()
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["contract rules: *contract-results.json not written: *"])

    def test_others_may_read_the_results(self, tree: Tree) -> None:
        tree.write(test_a='@rule("GE-1")\ndef test_one(): pass')
        tree.run()
        assert stat.S_IMODE(os.stat(tree.pytester.path / RESULTS).st_mode) == 0o644


class TestSeveralRuns:
    """What a later run of some, of other, or of changed tests leaves of the record."""

    TWO = '@rule("GE-1")\ndef test_one(): pass\n@rule("GE-2")\ndef test_two(): pass\n'

    def test_a_run_of_some_keeps_the_others(self, tree: Tree) -> None:
        tree.write(test_a=self.TWO, test_b='@rule("GE-3")\ndef test_three(): pass')
        tree.run()
        tree.configure("def pytest_runtest_setup(item): raise RuntimeError")
        tree.run("-k", "one")
        assert tree.outcomes() == {
            "test_a.py::test_one": "failed",
            "test_a.py::test_two": "passed",
            "test_b.py::test_three": "passed",
        }
        tree.run("test_b.py")
        tree.run("test_a.py::test_two")
        assert set(tree.outcomes().values()) == {"failed"}

    def test_what_was_skipped_last_no_longer_covers(self, tree: Tree) -> None:
        tree.write(test_a=self.TWO)
        tree.run()
        tree.configure("import pytest\ndef pytest_runtest_setup(item): pytest.skip()")
        tree.run()
        assert tree.statuses("GE-1", "GE-2") == [Status.UNCOVERED] * 2

    def test_a_changed_file_covers_nothing_until_it_runs_again(self, tree: Tree) -> None:
        tree.write(test_a=self.TWO)
        tree.run()
        tree.write(test_a=self.TWO + "# changed")
        assert tree.statuses("GE-1", "GE-2") == [Status.UNCOVERED] * 2
        tree.run("-k", "one")
        assert tree.statuses("GE-1", "GE-2") == [Status.COVERED, Status.UNCOVERED]
        tree.run()
        assert tree.statuses("GE-1", "GE-2") == [Status.COVERED] * 2

    def test_a_file_changed_while_it_ran_covers_nothing(self, tree: Tree) -> None:
        tree.write(test_a='@rule("GE-1")\ndef test_one():\n with open(__file__, "a") as f: f.write("# changed")')
        tree.run()
        assert tree.outcomes() == {"test_a.py::test_one": "passed"}
        assert tree.statuses("GE-1") == [Status.UNCOVERED]

    def test_a_test_or_file_that_is_no_more_is_forgotten(self, tree: Tree) -> None:
        tree.write(test_a=self.TWO, test_b='@rule("GE-3")\ndef test_three(): pass')
        tree.run()
        tree.write(test_a='@rule("GE-1")\ndef test_one(): pass')
        (tree.pytester.path / "test_b.py").unlink()
        tree.run()
        assert tree.outcomes() == {"test_a.py::test_one": "passed"}

    def test_a_parameter_that_is_no_more_is_forgotten_though_the_file_is_unchanged(self, tree: Tree) -> None:
        tree.write(
            test_a='import values\n@rule("GE-1")\n@pytest.mark.parametrize("x", values.X)\ndef test_one(x): pass'
        )
        tree.pytester.makepyfile(values="X = [1, 22]")
        tree.run()
        assert set(tree.outcomes()) == {"test_a.py::test_one[1]", "test_a.py::test_one[22]"}
        tree.pytester.makepyfile(values="X = [1]")
        tree.run("test_a.py::test_one")
        assert set(tree.outcomes()) == {"test_a.py::test_one[1]", "test_a.py::test_one[22]"}
        tree.run("-k", "nothing")
        assert set(tree.outcomes()) == {"test_a.py::test_one[1]"}

    def test_a_file_that_no_longer_imports_covers_nothing(self, tree: Tree) -> None:
        tree.write(test_a="import values\n" + self.TWO, test_b='@rule("GE-3")\ndef test_three(): pass')
        tree.pytester.makepyfile(values="")
        tree.run()
        tree.pytester.makepyfile(values="raise RuntimeError")
        tree.run()
        assert tree.outcomes() == {
            "test_a.py::test_one": "unfinished",
            "test_a.py::test_two": "unfinished",
            "test_b.py::test_three": "passed",
        }

    def test_rerunning_the_last_failures_forgets_nothing(self, tree: Tree) -> None:
        tree.write(test_a=self.TWO + '@rule("GE-3")\ndef test_three(): assert False')
        tree.run()
        result = tree.run("--lf")
        result.assert_outcomes(failed=1)
        assert tree.statuses("GE-1", "GE-2", "GE-3") == [Status.COVERED] * 2 + [Status.UNCOVERED]


class TestRunsThatStopEarly:
    """What was chosen for the last run and did not come to its end proves nothing."""

    THREE = """
import os, pathlib
@rule("GE-1")
def test_one(): pass
@rule("GE-2")
def test_two():
    if pathlib.Path("stop").exists(): {stop}
@rule("GE-3")
def test_three(): pass
"""

    @pytest.mark.parametrize(
        ("stop", "two"),
        [("assert False", "failed"), ("raise KeyboardInterrupt", "unfinished")],
        ids=["first failure", "interrupt"],
    )
    def test_tests_behind_the_stop_are_unfinished(self, tree: Tree, stop: str, two: str) -> None:
        tree.write(test_a=self.THREE.format(stop=stop))
        tree.run()
        assert set(tree.outcomes().values()) == {"passed"}
        Path("stop").touch()
        tree.pytester.runpytest_subprocess("-x")
        assert list(tree.outcomes().values()) == ["passed", "unfinished", two]

    def test_a_test_whose_teardown_did_not_end_is_unfinished(self, tree: Tree) -> None:
        stopping = "@pytest.fixture\ndef stopping():\n yield\n raise KeyboardInterrupt\n"
        tree.write(test_a=stopping + '@rule("GE-1")\ndef test_one(stopping): pass')
        tree.pytester.runpytest_subprocess()
        assert tree.outcomes() == {"test_a.py::test_one": "unfinished"}

    def test_a_killed_run_leaves_no_old_pass(self, tree: Tree) -> None:
        tree.write(test_a=self.THREE.format(stop="os._exit(1)"), test_b='@rule("GE-4")\ndef test_four(): pass')
        tree.run()
        Path("stop").touch()
        tree.pytester.runpytest_subprocess("test_a.py")
        assert tree.outcomes() == {
            "test_a.py::test_one": "unfinished",
            "test_a.py::test_two": "unfinished",
            "test_a.py::test_three": "unfinished",
            "test_b.py::test_four": "passed",
        }
        assert load(tree.pytester.path)["test_a.py::test_two"].ended is None


class TestUnderXdist:
    def test_workers_are_merged(self, tree: Tree) -> None:
        tree.write(test_a=ENDS, test_b='import shared\n@rule("HD-1")\ndef test_other(): pass')
        tree.pytester.makepyfile(shared="")
        tree.pytester.runpytest_subprocess(*XDIST, "-n2")
        assert tree.outcomes() == {**ENDED, "test_b.py::test_other": "passed"}
        assert tree.statuses("HD-1") == [Status.COVERED]
        tree.pytester.makepyfile(shared="# changed")
        assert tree.statuses("HD-1") == [Status.UNCOVERED]

    def test_what_is_no_more_is_forgotten_and_what_was_not_chosen_is_kept(self, tree: Tree) -> None:
        tree.write(test_a=TestSeveralRuns.TWO, test_b='@rule("GE-3")\ndef test_three(): pass')
        tree.run()
        tree.write(test_a='@rule("GE-1")\ndef test_one(): pass')
        tree.pytester.runpytest_subprocess(*XDIST, "-n1", "--dist", "loadgroup", "-k", "one")
        assert tree.outcomes() == {"test_a.py::test_one": "passed", "test_b.py::test_three": "passed"}

    @pytest.mark.parametrize(("restarts", "three"), [("1", "passed"), ("0", "unfinished")])
    def test_a_test_that_kills_its_worker_failed(self, tree: Tree, restarts: str, three: str) -> None:
        tree.write(test_a=TestRunsThatStopEarly.THREE.format(stop="os._exit(1)"))
        tree.run()
        Path("stop").touch()
        tree.pytester.runpytest_subprocess(*XDIST, "-n1", f"--max-worker-restart={restarts}")
        assert tree.outcomes() == {
            "test_a.py::test_one": "passed",
            "test_a.py::test_two": "failed",
            "test_a.py::test_three": three,
        }

    def test_a_setup_that_kills_the_only_worker_failed(self, tree: Tree) -> None:
        stopping = '@pytest.fixture\ndef stopping():\n if pathlib.Path("stop").exists(): os._exit(1)\n'
        tree.write(test_a=f'import os, pathlib\n{stopping}@rule("GE-1")\ndef test_one(stopping): pass')
        tree.run()
        Path("stop").touch()
        tree.pytester.runpytest_subprocess(*XDIST, "-n1", "--max-worker-restart=0")
        assert tree.outcomes() == {"test_a.py::test_one": "failed"}

    def test_a_group_does_not_change_the_id(self, tree: Tree) -> None:
        marked = '@pytest.mark.xdist_group("a")\n@rule("GE-1")\ndef test_one(): {}\n'
        tree.write(test_a=marked.format("pass"))
        for _ in range(2):
            tree.pytester.runpytest_subprocess(*XDIST, "-n1", "--dist", "loadgroup")
            assert tree.outcomes() == {"test_a.py::test_one": "passed"}

    def test_a_killed_run_leaves_no_old_pass(self, tree: Tree) -> None:
        tree.write(test_a=TestRunsThatStopEarly.THREE.format(stop="pass"))
        tree.run()
        tree.configure(
            """
import os
controlling = False

def pytest_configure(config):
    global controlling
    controlling = not hasattr(config, "workerinput")

def pytest_runtest_logstart(nodeid):
    if controlling and "two" in nodeid:
        os._exit(1)
"""
        )
        tree.pytester.runpytest_subprocess(*XDIST, "-n1")
        assert set(tree.outcomes().values()) == {"unfinished"}

    def test_a_wrong_marker_is_a_collection_error(self, tree: Tree) -> None:
        tree.write(test_a='@rule("GE-999")\ndef test_one(): pass')
        result = tree.pytester.runpytest_subprocess(*XDIST, "-n1")
        assert result.ret != pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["*no such contract rule: 'GE-999'*"])
