"""A page in headless Chromium, at several widths: what a reader would see go wrong."""
import html
import json
from pathlib import Path
import re
import shutil
import subprocess

import pytest

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--virtual-time-budget=10000")
HEIGHT = 9000           # pixels of a frame: more than any page needs

# For each frame: what reaches beyond its width, which labels overlap, and the text that is visible.
_LOOK = """
addEventListener('load', () => {
  const found = [...document.querySelectorAll('iframe')].map(frame => {
    const page = frame.contentDocument, width = page.documentElement.clientWidth;
    const seen = [...page.body.querySelectorAll('*')].filter(one => one.getBoundingClientRect().width > 0);
    const outside = box => box.right > width + .5 || box.left < -.5;
    const beyond = seen.filter(one => outside(one.getBoundingClientRect()));
    const texts = seen.filter(one => one.tagName == 'text').map(one => [one.textContent.trim(), one.getBoundingClientRect(),
                                                                        one.ownerSVGElement]);
    const overlaps = [];
    texts.forEach(([name, a, picture], n) => texts.slice(n + 1).forEach(([other, b, others]) => {
      if (picture == others && Math.min(a.right, b.right) - Math.max(a.left, b.left) > .5
          && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2) overlaps.push([name, other]);
    }));
    return {width, page: page.documentElement.scrollWidth, height: page.documentElement.scrollHeight,
            beyond: beyond.map(one => one.outerHTML.slice(0, 100)), overlaps, text: page.body.innerText, labels: texts.length};
  });
  document.body.dataset.found = JSON.stringify(found);
});
"""


def chromium() -> str:
    """The browser's path; skips the test where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if (path := shutil.which(name)) is not None:
            return path
    pytest.skip("needs Chromium: apt install chromium")


def look(page: str, widths: tuple[int, ...], folder: Path, screenshot: Path | None = None) -> tuple[list[dict], list[str]]:
    """What is found at each width (`_LOOK`), and what the console said. `folder` is for the browser's profile."""
    browser = chromium()
    (folder / "page.html").write_text(page, encoding="utf-8")
    frames = "".join(f'<iframe src="page.html" width="{width}" height="{HEIGHT}" style="border:0"></iframe>' for width in widths)
    around = folder / "around.html"
    around.write_text(f"<!doctype html><meta charset='utf-8'><script>{_LOOK}</script><body>{frames}</body>", encoding="utf-8")
    command = [browser, *FLAGS, "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}",
               f"--window-size={sum(widths) + 100},{HEIGHT + 100}"]
    what = "--dump-dom" if screenshot is None else f"--screenshot={screenshot}"
    done = subprocess.run([*command, what, around.as_uri()], capture_output=True, text=True, timeout=300)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    if screenshot is not None:
        return [], said
    found = re.search(r'<body data-found="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1])), said
