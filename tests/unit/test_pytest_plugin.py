"""The pytest plugin without root: what it collects, what it skips, and what it says."""

from __future__ import annotations

import pytest

import emulator.topology  # noqa: F401  pytester forgets modules that were first imported inside of it

pytest_plugins = ["pytester"]

SCENARIO = '''
from emulator import AddressFamily, Checks, Pair, scenario

@scenario(cases=("B01",), rules=("NS-9",))
def arrives(pair: Pair, family: AddressFamily, check: Checks) -> None:
    """host === peer"""
    check("a", 1, 1)

@scenario(families=(AddressFamily.INET,))
def once(check: Checks) -> None:
    """no host"""

def helper() -> None: ...
'''


class Plugged:
    """An empty folder in which pytest has the plugin; nobody is root there."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setattr("os.geteuid", lambda: 1000)

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess(
            "-p", "emulator.pytest_plugin", "-p", "no:unraisableexception", "--strict-markers", *arguments
        )


@pytest.fixture
def plugged(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Plugged:
    return Plugged(pytester, monkeypatch)


def test_a_scenario_is_a_test_for_each_of_its_families(plugged: Plugged) -> None:
    plugged.pytester.makepyfile(test_it=SCENARIO)
    found = plugged.run("--collect-only", "-q")
    wanted = ("arrives[[]ipv4]", "arrives[[]ipv6]", "once[[]ipv4]")
    found.stdout.fnmatch_lines([f"test_it.py::{name}" for name in wanted])
    assert "helper" not in found.stdout.str()


def test_a_file_of_another_name_is_collected_when_it_is_named(plugged: Plugged) -> None:
    path = plugged.pytester.makepyfile(lab=SCENARIO)
    assert plugged.run("--collect-only").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    plugged.run("--collect-only", "-q", str(path)).stdout.fnmatch_lines(["lab.py::arrives[[]ipv4]"])


def test_a_scenario_carries_its_rules_and_cases_as_markers(plugged: Plugged) -> None:
    plugged.pytester.makepyfile(test_it=SCENARIO)
    plugged.pytester.makeconftest(
        "def pytest_collection_modifyitems(items):\n"
        "    for item in items:\n"
        "        print(item.name, *([m.args for m in item.iter_markers(name)] for name in ('rule', 'case')))\n"
    )
    found = plugged.run("--collect-only", "-q", "-s")
    assert "arrives[ipv4] [('NS-9',)] [('B01',)]" in found.stdout.str()
    assert "once[ipv4] [] []" in found.stdout.str()


def test_a_scenario_can_be_chosen_by_its_markers_and_name(plugged: Plugged) -> None:
    plugged.pytester.makepyfile(test_it=SCENARIO)
    plugged.run("--collect-only", "-q", "-m", "case", "-k", "ipv6").stdout.fnmatch_lines(
        ["test_it.py::arrives[[]ipv6]", "1/3 tests collected*"]
    )


def test_a_scenario_that_asks_for_what_there_is_not_is_a_collection_error(plugged: Plugged) -> None:
    plugged.pytester.makepyfile(
        test_it='from emulator import scenario\n\n@scenario\ndef asks(pear):\n    """A fruit."""\n'
    )
    found = plugged.run()
    assert found.ret == pytest.ExitCode.INTERRUPTED
    found.stdout.fnmatch_lines(["*scenario asks asks for `pear`; it can have*"])


def test_without_root_everything_that_needs_it_is_skipped_with_the_reason(plugged: Plugged) -> None:
    plugged.pytester.makepyfile(
        test_it=SCENARIO,
        test_fixtures="def test_pair(pair): pass\ndef test_lab(lab): pass\ndef test_handle(handle): pass\n",
    )
    found = plugged.run("-rs")
    found.assert_outcomes(skipped=7)
    assert found.ret == 0
    assert found.stdout.str().count("needs root: run pytest with sudo") >= 2


def test_what_is_required_fails_instead(plugged: Plugged) -> None:
    plugged.pytester.makepyfile(test_it=SCENARIO, test_fixtures="def test_pair(pair): pass\n")
    found = plugged.run("--wfplab-require")
    assert found.ret == pytest.ExitCode.TESTS_FAILED
    found.assert_outcomes(failed=3, errors=1)
    found.stdout.fnmatch_lines(["*needs root: run pytest with sudo, or with --wfplab-rootless (--wfplab-require)*"])


def test_a_missing_feature_is_skipped_by_its_name_or_fails(
    plugged: Plugged, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netns.features import Feature

    probed = []

    def probe_all() -> list[Feature]:
        probed.append(1)
        return [Feature("tproxy", False, "", ("stream",), None), Feature("veth", True, "", ("lab",), None)]

    monkeypatch.setattr("netns.features.probe_all", probe_all)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    plugged.pytester.makepyfile(
        "import pytest\n"
        "@pytest.mark.wfplab(features=('tproxy',))\ndef test_lacks(): pass\n"
        "@pytest.mark.wfplab(features=('veth',))\ndef test_has(): pass\n"
    )
    found = plugged.run("-rs")
    found.assert_outcomes(skipped=1, passed=1)
    assert "tproxy is missing" in found.stdout.str()
    assert probed == [1]
    plugged.run("--wfplab-require").assert_outcomes(errors=1, passed=1)


def test_an_unknown_queue_is_wrong_usage(plugged: Plugged) -> None:
    found = plugged.run("--wfplab-queue", "none")
    assert found.ret == pytest.ExitCode.USAGE_ERROR
    assert "--wfplab-queue takes netlink or netfilterqueue" in found.stderr.str()


def test_checks_of_a_plain_test_all_count_and_none_is_a_failure(plugged: Plugged) -> None:
    plugged.pytester.makepyfile(
        "def test_good(check):\n    check('one', 1, 1)\n"
        "def test_bad(check):\n    check('two', 1, 2)\n    check('three', 1, 3)\n"
        "def test_none(check): pass\n"
        "def test_family(family, check): check('number', int(family) in (2, 23), True)\n"
    )
    found = plugged.run()
    found.assert_outcomes(passed=3, failed=2)
    found.stdout.fnmatch_lines(
        [
            "two (test_checks_of*.py:4): expected 2, seen 1",
            "three (test_checks_of*.py:5): expected 3, seen 1",
            "no check was taken: a test that checks nothing proves nothing",
        ]
    )


def test_the_plugin_is_registered_once_and_imports_nothing_slow(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import sys\n"
        "def test_it(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.has_plugin('wfplab')\n"
        "    assert not {'scapy', 'pyroute2', 'rich', 'netfilterqueue'} & sys.modules.keys()\n"
    )
    pytester.runpytest_subprocess("-p", "no:hypothesispytest").assert_outcomes(passed=1)
