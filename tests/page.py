#!/usr/bin/env python3
"""Looks at the live page as a person does, in a headless Chromium, and says what is wrong.

    tests/page.py http://127.0.0.1:8000 DIRECTORY [--token TOKEN] [--restart] [--timeout SECONDS]

Needs Chromium ($CHROMIUM, otherwise `chromium`) and nothing beyond Python's own library. Waits for a live frame or
window and a decision, and prints the milliseconds from the decision's `at` to the picture of the screen that has it.
Leaves screenshots in DIRECTORY, in both themes, of a desktop and of a phone. With `--restart` it prints `restart`,
waits for a line on standard input that tells that the server was started anew, and for the page to recover.
Exits with 1 and says why where anything is not as it should be.
"""

import argparse
import base64
import gzip
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

SCREENS = {"desktop": (1440, 900, False), "phone": (390, 844, True)}
NARROWEST = 360
MOST_BYTES = 60_000
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps",
    "--disable-dev-shm-usage", "--remote-debugging-pipe", "--no-proxy-server",
]
NAMED = {"button", "textbox", "combobox", "checkbox", "link", "listbox", "searchbox", "switch", "DisclosureTriangle"}

# Runs before the page's own script: notes when a decision is on the screen, and what the banner said.
WATCH = """
window.watched = { decisions: [], banners: [] };
new MutationObserver((changes) => {
  for (const { addedNodes, target } of changes) {
    if (target.id === 'link') watched.banners.push(target.textContent);
    for (const node of addedNodes) {
      if (!node.dataset?.id) continue;
      const at = Date.parse(node.querySelector('time').dateTime);
      requestAnimationFrame(() => watched.decisions.push({ id: node.dataset.id, at, after: Date.now() - at }));
    }
  }
}).observe(document, { childList: true, subtree: true });
"""
SEES = """(() => {
  const shown = (node) => node.getClientRects().length > 0;
  const frame = [...document.querySelectorAll('.stage canvas')].some((one) => shown(one) && one.width > 1);
  const lane = [...document.querySelectorAll('.lanes path')].some((one) => shown(one) && one.getAttribute('d'));
  return frame ? 'frame' : lane ? 'window' : '';
})()"""


class Wrong(Exception):
    """The page is not as it should be."""


class Browser:
    """A Chromium that is spoken to in the DevTools protocol, over a pipe."""

    def __init__(self, profile):
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        program = os.environ.get("CHROMIUM", "chromium")
        # The protocol's descriptors are 3 and 4; what the shell was given may be others.
        shell = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
        command = ["sh", "-c", shell, program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        with open(Path(profile) / "log", "wb") as log:
            self.process = subprocess.Popen(command, pass_fds=(to_read, from_write), stdout=log, stderr=log)
        os.close(to_read)
        os.close(from_write)
        self.out = os.fdopen(to_write, "wb", buffering=0)
        self.incoming = queue.Queue()
        self.events = []
        self.number = 0
        self.session = None
        threading.Thread(target=self.read, args=(from_read,), daemon=True).start()

    def read(self, descriptor):
        rest = b""
        while chunk := os.read(descriptor, 1 << 20):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in messages:
                self.incoming.put(json.loads(message))
        self.incoming.put(None)

    def take(self, timeout):
        """Takes one message; an event is kept."""
        message = self.incoming.get(timeout=timeout)
        if message is None:
            raise Wrong("Chromium ended")
        if "method" in message:
            self.events.append(message)
        return message

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        while True:
            try:
                answer = self.take(30)
            except queue.Empty:
                raise Wrong(f"Chromium does not answer {method}") from None
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise Wrong(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def attach(self):
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def value(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise Wrong(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def wait(self, what, expression, timeout):
        deadline = time.monotonic() + timeout
        while not (value := self.value(expression)):
            if time.monotonic() > deadline:
                raise Wrong(f"after {timeout:.0f} s there is still no {what}")
            time.sleep(0.05)
        return value

    def type(self, text):
        self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key="Enter", text="\r", windowsVirtualKeyCode=13)

    def screen(self, width, height, mobile, theme):
        scale = 2 if mobile else 1
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


def check_size(base):
    """The three files, compressed, and what the page may do by its policy."""
    total = raw = 0
    for path in ("/", "/page.css", "/page.js"):
        with urllib.request.urlopen(base + path, timeout=10) as answer:
            body = answer.read()
            policy = answer.headers.get("Content-Security-Policy", "")
        raw += len(body)
        total += len(gzip.compress(body, mtime=0))
        if path == "/" and ("default-src 'none'" not in policy or "unsafe" in policy):
            raise Wrong(f"the page's Content-Security-Policy is not strict: {policy!r}")
    if total >= MOST_BYTES:
        raise Wrong(f"the page takes {total} bytes compressed; {MOST_BYTES} are allowed")
    print(f"size: {raw} bytes, {total} with gzip")


def sign_in(browser, token, timeout):
    """As a person does: a wrong token first."""
    asks = "document.querySelector('dialog').open && document.activeElement.id === 'token'"
    for attempt in ("not-" + token[:20], token):
        browser.wait("question for a token", asks, timeout)
        browser.type(attempt)
        if attempt != token:
            browser.wait("word on a wrong token", "document.getElementById('refused').textContent", timeout)
    browser.wait("closed dialog", "!document.querySelector('dialog').open", timeout)


def fresh_decision(browser, since, timeout):
    """The first decision that was made after `since`, milliseconds of the wall clock."""
    found = f"watched.decisions.find((one) => one.at >= {since})"
    return browser.wait("decision in the list", found, timeout)


def check_names(browser):
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in NAMED]
    for node in controls:
        if not node.get("name", {}).get("value", "").strip():
            raise Wrong(f"a {node['role']['value']} has no name (backend node {node.get('backendDOMNodeId')})")
    roles = {node["role"]["value"] for node in nodes if not node["ignored"]}
    if missing := {"banner", "main", "status"} - roles:
        raise Wrong(f"there is no {', '.join(sorted(missing))} on the page")
    print(f"names: all {len(controls)} controls have one")


def check_screens(browser, directory):
    for name, (width, height, mobile) in SCREENS.items():
        for theme in ("light", "dark"):
            browser.screen(width, height, mobile, theme)
            browser.wait(f"{theme} theme", f"document.documentElement.dataset.theme === '{theme}'", 5)
            time.sleep(0.4)  # the picture of a moment: colours fade over 0.2 s
            picture = browser.call("Page.captureScreenshot", format="png")["data"]
            (directory / f"{name}-{theme}.png").write_bytes(base64.b64decode(picture))
    for width in (NARROWEST, 1440):
        browser.screen(width, 800, width < 500, "light")
        wide = browser.value("document.documentElement.scrollWidth")
        if wide > width:
            raise Wrong(f"the page is {wide} pixels wide on a screen of {width}")


def check_theme(browser):
    """The button turns the theme, and the page comes back with it."""
    browser.screen(1440, 900, False, "light")
    for wanted in ("dark", "light"):
        browser.value("document.getElementById('theme').click()")
        if browser.value("document.documentElement.dataset.theme") != wanted:
            raise Wrong(f"the button does not turn the theme {wanted}")
        kept = browser.value("localStorage.length")
        if bool(kept) != (wanted == "dark"):
            raise Wrong(f"the chosen theme is not kept: {kept} entries for {wanted}")


def check_events(browser, base, may_fail):
    """Nobody else was asked, and nothing went wrong. `may_fail`: of what network errors are no fault."""
    here = urlsplit(base).netloc
    for event in browser.events:
        method, params = event["method"], event["params"]
        if method == "Network.requestWillBeSent":
            url = urlsplit(params["request"]["url"])
            if url.scheme not in ("data", "blob") and url.netloc != here:
                raise Wrong(f"the page asked another host: {params['request']['url'][:200]}")
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            text = details.get("exception", {}).get("description", details["text"])
            raise Wrong(f"an exception: {text}")
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert", "warning"):
            said = [str(arg.get("value", arg.get("description", ""))) for arg in params["args"]]
            raise Wrong(f"the console has: {' '.join(said)}")
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            entry = params["entry"]
            if entry["source"] != "network" or not any(word in entry["text"] for word in may_fail):
                raise Wrong(f"the console has: {entry['text']} {entry.get('url', '')}")


def look(browser, base, options):
    browser.attach()
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
    browser.screen(1440, 900, False, "light")
    began = time.time() * 1000
    browser.call("Page.navigate", url=base + "/")
    browser.wait("page", "location.protocol !== 'about:' && document.readyState === 'complete'", options.timeout)
    if options.token:
        sign_in(browser, options.token, options.timeout)
    what = browser.wait("live frame or window", SEES, options.timeout)
    print(f"live: a {what} after {time.time() * 1000 - began:.0f} ms")
    decision = fresh_decision(browser, began, options.timeout)
    print(f"decision: on the screen {decision['after']:.0f} ms after it was made")
    check_names(browser)
    check_screens(browser, options.directory)
    check_theme(browser)
    may_fail = ["401"] if options.token else []
    if options.restart:
        check_events(browser, base, may_fail)
        print("restart", flush=True)
        if not sys.stdin.readline():
            raise Wrong("nobody told that the server was started anew")
        began = time.time() * 1000
        fresh_decision(browser, began, options.timeout)
        calm = "!document.getElementById('link').classList.contains('shown')"
        browser.wait("end of the banner", calm, options.timeout)
        if not browser.value("watched.banners.some((text) => text.includes('Connection lost, trying again'))"):
            raise Wrong("the page did not say that the connection was lost")
        print(f"recovered: a decision {time.time() * 1000 - began:.0f} ms after the restart was told")
        may_fail += ["net::ERR_", "503"]
    check_events(browser, base, may_fail)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--token")
    parser.add_argument("--restart", action="store_true")
    parser.add_argument("--timeout", type=float, default=60)
    options = parser.parse_args()
    base = options.url.rstrip("/")
    options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = None
        try:
            check_size(base)
            browser = Browser(profile)
            look(browser, base, options)
        except (Wrong, OSError) as problem:
            sys.exit(f"page: {problem}")
        finally:
            if browser:
                browser.stop()


if __name__ == "__main__":
    main()
