"""A real browser without a window, driven through its DevTools pipe: JSON messages that end in a zero byte."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PATIENCE = 120  # seconds


class Browser:
    """One page of a running Chromium, and what it asked for and complained about since it was opened.

    Attributes:
        requests: addresses that the page asked for, its own and data: aside.
        complaints: errors and warnings of its console, exceptions, and violations of its content security policy.
    """

    def __init__(self, program: str, folder: Path) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        options = "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --remote-debugging-pipe"
        # the pipe's ends are 3 and 4 in the browser
        shell = f'exec "$0" {options} --user-data-dir="$1" about:blank 3<&{theirs_in} 4>&{theirs_out}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, program, str(folder)],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._rest, self._n_sent, self._session = b"", 0, ""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        (target,) = [one for one in self.send("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def open(self, path: Path, width: int = 1280, dark: bool = False) -> None:
        """Loads a file as a window of that width shows it, and waits until all of it is there."""
        self.open_address(path.resolve().as_uri(), width, dark)

    def open_address(self, address: str, width: int = 1280, dark: bool = False) -> None:
        """The same for an address."""
        self.requests, self.complaints = [], []
        window = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **window)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self._here = address
        self.send("Page.navigate", url=self._here)
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited when it is a promise."""
        done = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a command; events that come before it are noted."""
        self._n_sent += 1
        message: dict[str, Any] = {"id": self._n_sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._n_sent:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait(timeout=60)
        os.close(self._out)
        os.close(self._in)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], _PATIENCE)[0]:
                raise TimeoutError(f"the browser said nothing for {_PATIENCE} seconds")
            chunk = os.read(self._in, 1 << 20)
            if not chunk:
                pytest.skip("chromium was found, but it does not start here")
            self._rest += chunk
        line, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, said: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            url = said["request"]["url"]
            if url != self._here and not url.startswith("data:"):
                self.requests.append(url)
        elif event == "Runtime.exceptionThrown" or (
            event == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert")
        ):
            self.complaints.append(json.dumps(said))
        elif event == "Log.entryAdded":
            self.complaints.append(said["entry"]["text"])
        elif event == "Page.javascriptDialogOpening":
            self.complaints.append(f"a dialog: {said['message']}")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium; tests that need it are skipped where there is none."""
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is installed")
    one = Browser(program, tmp_path_factory.mktemp("browser"))
    yield one
    one.close()
