"""A headless Chromium driven through two pipes: no driver program, no port, no package."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
STARTER = """
import os, sys
from fcntl import F_DUPFD, fcntl
commands, answers = (fcntl(int(number), F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(commands, 3)
os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser reads commands from descriptor 3 and writes answers to 4."""
ANSWER_SECONDS = 30.0
LOUD = ("warning", "error", "assert")


def chromium() -> str | None:
    """The browser's program, if it is here."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One browser with one page; `errors` holds what the page complained about since it was opened."""

    def __init__(self) -> None:
        program = chromium()
        assert program is not None, "these tests need chromium: apt-get install chromium"
        self._profile = tempfile.mkdtemp(prefix="wfplab-chromium-")
        commands, self._in = os.pipe()
        self._out, answers = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(commands), str(answers), program, *SWITCHES,
             f"--user-data-dir={self._profile}", "about:blank"],
            pass_fds=(commands, answers), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        os.set_blocking(self._out, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        self._buffer = b""
        self._last = 0
        self._session = ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        """Addresses that the page asked for."""
        self._loaded = False
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        targets = self._ask("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = self._ask("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    def open(self, page: Path) -> None:
        """Load a file and wait until it is there."""
        self._loaded = False
        self.errors.clear()
        self.requests.clear()
        self._ask("Page.navigate", url=page.absolute().as_uri())
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._loaded:
            self._hear(deadline)

    def run(self, script: str) -> Any:
        """What an expression comes to in the page; AssertionError when it raises."""
        # Not by the page's own evaluation: its policy forbids that, and shall.
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def type(self, text: str) -> None:
        """Type into what has the focus."""
        self._ask("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Press the mouse on the middle of the first element that matches."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screen(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page a screen of this size, in pixels."""
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone
        )

    def media(self, kind: str = "", **features: str) -> None:
        """Show the page on another medium, such as print, or with features such as prefers_color_scheme."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self._ask("Emulation.setEmulatedMedia", media=kind, features=named)

    def picture(self) -> bytes:
        """A PNG of what is seen."""
        return b64decode(self._ask("Page.captureScreenshot", format="png")["data"])

    def printed(self) -> bytes:
        """The page as PDF."""
        return b64decode(self._ask("Page.printToPDF", printBackground=False)["data"])

    def close(self) -> None:
        """End the browser and remove its profile."""
        self._selector.close()
        os.close(self._in)
        os.close(self._out)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    # -- the protocol -----------------------------------------------------------------------------------

    def _ask(self, method: str, **params: Any) -> Any:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._in, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            answer = self._hear(deadline)
            if answer is not None and answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _hear(self, deadline: float) -> Any:
        """The next message; what the page complains about is kept."""
        while b"\0" not in self._buffer:
            assert self._selector.select(max(deadline - time.monotonic(), 0)), "the browser does not answer"
            piece = os.read(self._out, 1 << 20)
            assert piece, "the browser has ended"
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in LOUD:
                self.errors.append(str(params["args"]))
            case "Log.entryAdded":
                self.errors.append(str(params["entry"]))
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
        return message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
