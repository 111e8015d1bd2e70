"""Finds the Chromium that browser tests drive; as a program, gets one where there is none.

In this order: what the variable CHROMIUM names, one on PATH, the one that Playwright downloaded. `python
tests/browser/chromium.py` downloads Playwright's, or installs Debian's package where it may.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DOWNLOAD_SECONDS = 600
FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # It would look for updates, and for Google's hosts; no test may depend on a network.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find() -> str | None:
    """The program, or None."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    for name in NAMES:
        if found := shutil.which(name):
            return found
    with sync_playwright() as playwright:
        downloaded = playwright.chromium.executable_path
    return downloaded if Path(downloaded).exists() else None


def flags() -> list[str]:
    """What to start it with. Root has no sandbox: Chromium refuses to start with one."""
    return [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*FLAGS]


def install() -> None:
    """Try what there is to try; `find` tells whether it worked."""
    download = [sys.executable, "-m", "playwright", "install", "chromium"]
    commands = [download]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        commands = [["apt-get", "update"], ["apt-get", "install", "--yes", "chromium"], download]
    for command in commands:
        print("+", *command, flush=True)
        try:
            subprocess.run(command, check=False, timeout=DOWNLOAD_SECONDS, stdout=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            print(f"gave up after {DOWNLOAD_SECONDS} seconds")
        if find():
            return


def main() -> None:
    """Exit with 1 and a sentence when there is no Chromium and none can be had."""
    if not find():
        install()
    if not (found := find()):
        sys.exit("no Chromium: install one, or name it with CHROMIUM=/path/to/chromium")
    print(f"browser tests drive {found}")


if __name__ == "__main__":
    main()
