"""The report in a real browser: it loads without a word, shows the packets, and hostile payloads stay text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulator.evidence import traceevents as event
from emulator.evidence.traceevents import read_file
from emulator.evidence.visible import visible
from tests.lab.browser import Browser, chromium
from tests.lab.reporting import HOSTILE, wfplab, write_scenarios

pytestmark = pytest.mark.host_only("needs Chromium")

COUNT = "[...document.querySelectorAll({})].filter(e => !e.hidden && !e.closest('.scenario').hidden).length"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose packets and checks hold what could break a page."""
    folder = tmp_path_factory.mktemp("run")
    done = wfplab("run", write_scenarios(folder), "--report", folder / "report")
    assert done.returncode == 1, done.stderr
    return folder / "report"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("no chromium: apt-get install chromium")
    with Browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, report: Path) -> Browser:
    """The report, just opened, on a desktop's screen."""
    browser.media()
    browser.screen(1280, 900)
    browser.open(report / "report.html")
    return browser


def shown(page: Browser, selector: str) -> int:
    """Elements that the filter left."""
    return int(page.run(COUNT.format(json.dumps(selector))))


def texts(page: Browser, selector: str) -> list[str]:
    found: list[str] = page.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")
    return found


def packets_of(report: Path) -> set[int]:
    """The packets that were seen on a wire or at a hook, by the trace."""
    with (report / "trace.jsonl").open("rb") as trace:
        kinds = event.Wire | event.Decision | event.Inject
        return {item.packet for item in read_file(trace) if isinstance(item, kinds) and item.packet}


def test_it_loads_without_errors_and_asks_for_nothing_else(page: Browser, report: Path) -> None:
    page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert page.errors == []
    assert page.requests == [(report / "report.html").as_uri()]


def test_a_page_that_does_complain_is_noticed(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<script>console.error('x'); undefinedFunction()</script>")
    browser.open(tmp_path / "bad.html")
    assert len(browser.errors) == 2


def test_the_diagram_shows_every_packet_of_the_run(page: Browser, report: Path) -> None:
    found = page.run("[...document.querySelectorAll('.step')].flatMap(e => e.dataset.packets.split(' ').map(Number))")
    assert set(found) - {0} == packets_of(report)
    # What is drawn has a size, and arrows go from lane to lane.
    page.run("document.querySelectorAll('.scenario').forEach(e => { e.open = true; })")
    widths = page.run("[...document.querySelectorAll('.arrow')].map(e => e.getBoundingClientRect().width)")
    assert widths
    assert min(widths) > 20


def test_injected_packets_are_marked(page: Browser, report: Path) -> None:
    with (report / "trace.jsonl").open("rb") as trace:
        injected = {item.packet for item in read_file(trace) if isinstance(item, event.Inject)}
    drawn = page.run("[...document.querySelectorAll('.step.wire.injected')].map(e => Number(e.dataset.packets))")
    assert set(drawn) == injected
    assert page.run("document.querySelectorAll('.step.injected .diamond').length") == shown(page, ".step.injected")


def test_what_failed_is_open_and_first(page: Browser) -> None:
    names = page.run("[...document.querySelectorAll('.scenario')].map(e => [e.dataset.name, e.open])")
    assert names == [["fails", True], ["copies", False], ["drops", False]]
    assert "1 failed, 2 passed" in texts(page, "h1")[0]


def test_hostile_payloads_and_names_stay_text(page: Browser) -> None:
    assert page.run("document.title") == "1 failed, 2 passed · wfplab"
    assert page.run("document.querySelectorAll('script').length") == 1
    everything = page.run("document.documentElement.textContent")
    assert not set("\x00\x1b\u202e\u2066") & set(everything)
    assert any(visible(HOSTILE) in text for text in texts(page, ".checks td"))
    # On the diagram a payload is octets: in rows, with what is printable beside them.
    page.run("document.querySelectorAll('.scenario, .step').forEach(e => { e.open = true; })")
    page.run("new Promise(done => requestAnimationFrame(() => setTimeout(done, 0)))")
    dumps = "".join(texts(page, ".hex.drawn"))
    assert "</script><scr" in dumps.replace("\n", "") or "</script>" in dumps
    assert page.run("document.querySelectorAll('.hex:not(.drawn)').length") == 0
    assert page.errors == []


def test_the_pages_policy_lets_no_other_script_run(page: Browser) -> None:
    page.run(
        "(() => { const s = document.createElement('script'); s.textContent = 'document.title = \"broken\"';"
        " document.body.append(s); })()"
    )
    assert page.run("document.title") == "1 failed, 2 passed · wfplab"
    assert any("Content Security Policy" in error for error in page.errors)


def type_into_filter(page: Browser, text: str) -> None:
    page.run("(() => { const e = document.getElementById('find'); e.focus(); e.select(); })()")
    if text:
        page.type(text)
    else:
        page.run("(() => { const e = document.getElementById('find'); e.value = '';"
                 " e.dispatchEvent(new Event('input')); })()")  # fmt: skip
    page.run("new Promise(done => setTimeout(done, 200))")  # the page waits for more to be typed


def test_typing_filters_packets_and_scenarios(page: Browser) -> None:
    total = shown(page, ".step")
    type_into_filter(page, "OUTBOUND_TRANSPORT")
    found = shown(page, ".step")
    assert 0 < found < total
    assert shown(page, ".step") == page.run(
        "[...document.querySelectorAll('.step')].filter(e => e.textContent.includes('OUTBOUND_TRANSPORT')).length"
    )
    assert page.run("[...document.querySelectorAll('.scenario')].filter(e => !e.hidden).map(e => e.dataset.name)") == [
        "drops"
    ]
    assert texts(page, "#shown") == [f"{found} of {total} steps"]
    type_into_filter(page, "copies")
    assert page.run("[...document.querySelectorAll('.scenario')].filter(e => !e.hidden).map(e => e.dataset.name)") == [
        "copies"
    ]
    type_into_filter(page, "nothing has this")
    assert shown(page, ".step") == 0
    type_into_filter(page, "")
    assert shown(page, ".step") == total
    assert texts(page, "#shown") == [""]


def test_a_packet_is_followed_by_its_number(page: Browser) -> None:
    page.run("document.querySelector('.scenario[data-name=copies]').open = true")
    number = page.run("document.querySelector('.scenario[data-name=copies] .step.inject').dataset.packets")
    page.click(f".step.inject[data-packets='{number}'] .packet")
    assert page.run("document.getElementById('find').value") == f"#{number}"
    left = page.run(
        "[...document.querySelectorAll('.step')].filter(e => !e.hidden).map(e => e.dataset.packets.split(' '))"
    )
    assert len(left) > 3
    assert all(number in packets for packets in left)


@pytest.mark.parametrize(
    ("kind", "selector"),
    [
        ("injected", ".step.injected"),
        ("stopped", ".step:is(.blocked, .absorbed, .failed, .fate)"),
        ("notes", ".step:is(.violation, .loss, .fate, .failed)"),
    ],
)
def test_kinds_filter_too(page: Browser, kind: str, selector: str) -> None:
    wanted = shown(page, selector)
    page.click(f"[data-kind={kind}]")
    assert shown(page, ".step") == wanted > 0
    page.click("[data-kind='']")
    assert shown(page, ".step") > wanted


def test_scenarios_and_steps_expand_and_collapse(page: Browser) -> None:
    page.click("#open")
    assert page.run("[...document.querySelectorAll('.scenario')].every(e => e.open)")
    page.click(".scenario[data-name=copies] .step.inject > summary > time")
    assert page.run("document.querySelector('.scenario[data-name=copies] .step.inject').open")
    page.run("new Promise(done => setTimeout(done, 50))")
    dump = texts(page, ".scenario[data-name=copies] .step.inject[open] .hex.drawn")[0]
    assert dump.startswith("0000  45 00 ")
    page.click("#close")
    assert not page.run("[...document.querySelectorAll('.scenario')].some(e => e.open)")


@pytest.mark.parametrize(("width", "height", "phone"), [(360, 740, True), (768, 1024, True), (1280, 900, False)])
def test_nothing_is_wider_than_the_screen(page: Browser, width: int, height: int, phone: bool) -> None:
    page.screen(width, height, phone=phone)
    page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    page.run("new Promise(done => setTimeout(done, 100))")
    assert page.run("document.documentElement.scrollWidth") <= width
    assert page.run("document.querySelector('.lane').getBoundingClientRect().width") > 150


def brightness(colour: Any) -> float:
    red, green, blue = (int(part) for part in colour[4:-1].split(",")[:3])
    return (red * 299 + green * 587 + blue * 114) / 1000


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_it_follows_the_readers_colours(page: Browser, scheme: str, dark: bool) -> None:
    page.media(prefers_color_scheme=scheme)
    ground, ink = (
        brightness(page.run(f"getComputedStyle(document.body).{name}")) for name in ("backgroundColor", "color")
    )
    assert (ground < 60, ink > 180) == (dark, dark)
    assert abs(ground - ink) > 125


def test_it_prints_on_white_without_its_controls(page: Browser) -> None:
    page.media("print", prefers_color_scheme="dark")
    assert page.run("getComputedStyle(document.querySelector('.bar')).display") == "none"
    assert brightness(page.run("getComputedStyle(document.body).backgroundColor")) == 255
    assert page.printed().startswith(b"%PDF-")
