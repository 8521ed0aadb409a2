"""The pytest plugin with root: fixtures on real namespaces, and a user's own file in an empty folder."""

from __future__ import annotations

from uuid import uuid4

import pytest

from netns.lease import labelled

pytestmark = pytest.mark.host_only("starts pytest again for every test")

pytest_plugins = ["pytester"]

USERS = '''
from emulator import AddressFamily, Checks, Datagrams, Driver, Host, InjectionHandle, with_payload


def test_secrets_are_redacted(
    host: Host, peer: Host, driver: Driver, handle: InjectionHandle, family: AddressFamily, check: Checks
) -> None:
    def redact(seen):
        if seen.injected_by(handle) or b"secret" not in seen.payload:
            return seen.permit()
        changed = with_payload(seen.copy(), seen.payload.replace(b"secret", b"******"))
        handle.network_send(driver.create(changed), driver.done)
        return seen.block(absorb=True)

    traffic = Datagrams(host, peer, family)
    check("before", traffic.exchange([b"a secret"]), [b"a secret"])
    driver.add(redact, "OUTBOUND_IPPACKET", family)
    check("during", traffic.exchange([b"a secret"]), [b"a ******"])
'''


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def test_a_users_own_file_works_in_an_empty_folder(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine=USERS)
    run(pytester).assert_outcomes(passed=2)


def test_the_same_in_parallel(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_mine=USERS, test_yours=USERS)
    found = run(pytester, "-n", "2")
    found.assert_outcomes(passed=4)


@pytest.mark.parametrize("name", ["pair", "routed", "alone", "bridged", "two_drivers", "empty"])
def test_every_bed_is_a_fixture(name: str, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"def test_it({name}):\n    assert type({name}).__name__.lower() == {name.replace('_', '')!r}\n"
    )
    run(pytester).assert_outcomes(passed=1)


def test_host_is_that_of_the_bed_which_the_test_asks_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "def test_it(routed, host, driver): assert host is routed.mid and driver.core is host.stack.core\n"
    )
    run(pytester).assert_outcomes(passed=1)


def test_the_marker_says_what_the_handle_may_inject(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import pytest\nfrom emulator import InjectionType\n"
        "@pytest.mark.wfplab(types=InjectionType.TRANSPORT)\n"
        "def test_it(handle): assert handle.types == InjectionType.TRANSPORT\n"
        "def test_default(handle): assert handle.types == InjectionType.NETWORK\n"
    )
    run(pytester).assert_outcomes(passed=4)


def test_what_leaks_or_breaks_a_rule_fails_a_test_that_passed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "import pytest\n"
        "def test_leaks(host): host.stack.create_handle(2, 4)\n"
        "def test_breaks(host): host.stack.core.violate('HD-6', 'call', 'on purpose')\n"
        "@pytest.mark.wfplab(violations=('HD-6',))\n"
        "def test_says_so(host): host.stack.core.violate('HD-6', 'call', 'on purpose')\n"
        "@pytest.mark.wfplab(violations=('HD-6',))\n"
        "def test_does_not(host): pass\n"
    )
    found = run(pytester)
    found.assert_outcomes(passed=4, errors=3)
    found.stdout.fnmatch_lines(
        ["not given back: <handle 1 INET NETWORK> was never destroyed (HC-15)", "broken rule: HD-6 call: on purpose",
         "no rule was broken", "expected were broken rules HD-6"]
    )  # fmt: skip


def test_a_failure_carries_what_the_host_knows(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        "from emulator import Datagrams\n"
        "def test_it(host, peer, driver):\n"
        "    def hoard(seen):\n"
        "        test_it.kept = seen.clone()\n"
        "        seen.permit()\n"
        "    from emulator import AddressFamily\n"
        "    driver.add(hoard, 'OUTBOUND_IPPACKET', AddressFamily.INET)\n"
        "    assert Datagrams(host, peer, AddressFamily.INET).exchange([b'one']) == [b'two']\n"
    )
    found = run(pytester)
    found.assert_outcomes(failed=1)
    text = found.stdout.str()
    for expected in ("wfplab: host: held by drivers", "never given back (NB-9), made at", "wfplab: host: books",
                     "postrouting: 2 offered", "wfplab: host: trace", "arrive POSTROUTING to "):  # fmt: skip
        assert expected in text


def test_a_failed_scenario_shows_its_picture_and_its_checks_and_no_runner(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="from emulator import AddressFamily, Checks, Datagrams, Pair, scenario\n"
        "@scenario(families=(AddressFamily.INET,))\n"
        "def differs(pair: Pair, family: AddressFamily, check: Checks):\n"
        '    """host --> peer"""\n'
        "    check('arrives', Datagrams(pair.host, pair.peer, family).exchange([b'one']), [b'two'])\n"
    )
    found = run(pytester)
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(
        ["host --> peer", "arrives (test_it.py:5)", "    expected [[]b'two']", "    seen     [[]b'one']"]
    )
    assert "runner.py" not in found.stdout.str()


def test_nothing_is_left_after_failures(pytester: pytest.Pytester) -> None:
    one, two = (f"test_{uuid4().hex}" for _ in range(2))  # labs are labelled by the names of tests
    pytester.makepyfile(
        f"def {one}(pair):\n    from netns.lease import labelled\n"
        f"    assert {one!r} in [label for label, _ in labelled()]\n    assert 0\n"
        f"def {two}(routed, lab): lab.namespace('more'); assert 0\n"
    )
    found = run(pytester)
    found.assert_outcomes(failed=2)
    assert found.stdout.str().count("assert 0") >= 2
    assert not {one, two} & {label for label, _ in labelled()}
