"""A headless Chromium, driven over its own protocol: to test the page, and to take its picture."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, final

from websockets.sync.client import ClientConnection, connect

from lego_core.errors import RunError

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
START_SECONDS = 90.0
ANSWER_SECONDS = 60.0
MOST_BYTES = 1 << 27  # of one picture


def find_browser() -> str | None:
    """The command of a Chromium on this machine, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@final
class Tab:
    """One tab of the browser.

    Args:
        connection: To the tab, in the DevTools protocol.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its result.

        Raises:
            RunError: If the browser refuses it.
        """
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._connection.recv(timeout=ANSWER_SECONDS))
            if told.get("id") != self._number:
                self._note(told)
                continue
            if "error" in told:
                raise RunError(f"The browser refuses '{method}': {told['error']['message']}.")
            return told["result"]

    def _note(self, told: dict[str, Any]) -> None:
        """Keep what the page complains of: errors of its scripts, and what its policy kept away."""
        if told["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["params"]["exceptionDetails"]))
        if told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
            self.complaints.append(told["params"]["entry"]["text"])

    def open(self, address: str, *, width: int = 1280, height: int = 900) -> None:
        """Go to a page."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.call("Page.navigate", url=address)

    def value(self, expression: str) -> Any:
        """What an expression comes to in the page.

        Raises:
            RunError: If it throws.
        """
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RunError(f"The page cannot tell '{expression}': {told['exceptionDetails']['text']}.")
        return told["result"].get("value")

    def wait_for(self, expression: str, *, seconds: float = 60.0) -> Any:
        """Wait until an expression is true, and give its value.

        Raises:
            RunError: If it stays false.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with suppress(RunError):  # between two pages there is none
                if value := self.value(expression):
                    return value
            time.sleep(0.1)
        raise RunError(f"The page does not come to '{expression}' within {seconds:g} seconds.")

    def picture(self, *, whole: bool = False) -> bytes:
        """The page as a PNG: what is seen of it, or all."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(told["data"])


@final
class Browser:
    """A Chromium of our own, with an empty profile, until the `with` block ends.

    Args:
        command: From `find_browser`.
    """

    def __init__(self, command: str) -> None:
        self._command = command

    def __enter__(self) -> "Browser":
        self._profile = tempfile.mkdtemp(prefix="lego-browser-")
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]
        options += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
        options += ["--remote-debugging-port=0", f"--user-data-dir={self._profile}", "about:blank"]
        self._process = subprocess.Popen(
            [self._command, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """A new tab."""
        place, path = self._place()
        with connect(f"ws://127.0.0.1:{place}{path}", max_size=MOST_BYTES) as browser:
            browser.send(
                json.dumps({"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}})
            )
            while (told := json.loads(browser.recv(timeout=ANSWER_SECONDS))).get("id") != 1:
                pass
            target = told["result"]["targetId"]
            address = f"ws://127.0.0.1:{place}/devtools/page/{target}"
            with connect(address, max_size=MOST_BYTES) as connection:
                yield Tab(connection)

    def _place(self) -> tuple[str, str]:
        """Port and path at which the browser listens; it writes them into its profile."""
        told = Path(self._profile) / "DevToolsActivePort"
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            lines = told.read_text().split() if told.is_file() else []
            if len(lines) == 2:
                return lines[0], lines[1]
            time.sleep(0.1)
        raise RunError(f"The browser '{self._command}' did not start within {START_SECONDS:g} seconds.")
