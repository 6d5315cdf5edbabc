"""Headless Chromium, and what a test does with it: opens a page, waits, looks, and hears what the page asked for.

It speaks the DevTools protocol over a pipe, so it needs no library. It knows nothing of the pages it opens.
"""

import base64
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any, Self

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)


class Browser:
    """One page of one browser, with nothing kept from before.

    Args:
        executable: of Chromium.
        profile: an empty directory for it.
        width: of the window, in CSS pixels.
    """

    def __init__(self, executable: str, profile: Path, *, width: int = 1440, height: int = 900) -> None:
        self.asked: list[str] = []  # the URL of each request, also of those that a policy stopped
        self.problems: list[str] = []  # uncaught exceptions, errors on the console, violations of the policy
        self._buffer = b""
        self._number = 0
        commands, self._write = os.pipe()
        self._read, events = os.pipe()
        line = f'exec "$@" 3<&{commands} 4>&{events}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", line, "bash", executable, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(commands, events),
        )
        os.close(commands)
        os.close(events)
        targets = self._tell("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._tell("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.tell(f"{domain}.enable")
        self.tell(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def open(self, url: str) -> None:
        self.tell("Page.navigate", url=url)

    def text(self) -> str:
        """What the page shows, as text."""
        return self.run("document.body ? document.body.innerText : ''")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.tell("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, script: str, timeout_s: float = 30) -> bool:
        """Whether the expression became true in time."""
        deadline = time.monotonic() + timeout_s
        while not self.run(script):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.tell("Page.captureScreenshot", format="png")["data"]))

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the DevTools protocol to the page, and its result."""
        return self._tell(method, session=self._session, **parameters)

    def close(self) -> None:
        os.close(self._write)
        os.close(self._read)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _tell(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        os.write(self._write, json.dumps(command | ({"sessionId": session} if session else {})).encode() + b"\0")
        while (message := self._next()).get("id") != self._number:
            self._hear(message)
        assert "error" not in message, message
        return message["result"]

    def _next(self, timeout_s: float = 60) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], timeout_s)
            assert ready, f"Chromium said nothing for {timeout_s} s"
            piece = os.read(self._read, 1 << 20)
            assert piece, "Chromium ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _hear(self, message: dict[str, Any]) -> None:
        event, said = message.get("method"), message.get("params", {})
        if event == "Network.requestWillBeSent":
            self.asked.append(said["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(said["exceptionDetails"])[:1000])
        elif event == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.problems.append(said["entry"]["text"])
        elif event == "Runtime.consoleAPICalled" and said["type"] == "error":
            self.problems.append(json.dumps(said["args"])[:1000])
