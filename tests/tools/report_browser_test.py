"""The page of `pepnet report` in a real browser: headless Chromium draws it at two widths without a
complaint.

Skips, with a message, where there is none (Debian's package is chromium). $PEPNET_CHROMIUM names
another program.
"""

import collections
import html
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import matplotlib.image
from report_page import trained_job
from small_job import pepnet

SKIPPED = 77  # SKIP_RETURN_CODE of the test
NAMES = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell",
         "chrome-headless-shell")
# The findings of the browser, as text in the document around the page: the page itself has no
# program.
# It stands in a frame, because no window of Chromium's is narrower than 500 pixels.
FRAME = """<!doctype html><title>probe</title><body style="margin:0">
<iframe style="border:0;width:{width}px;height:6000px" srcdoc="{page}"></iframe>"""
PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement, wide = [];
  for (const figure of document.querySelectorAll("figure, table, h1, p, ul")) {
    const box = figure.getBoundingClientRect();
    if (box.right > root.clientWidth + 1 && !figure.closest(".scroll")) wide.push(figure.tagName);
  }
  let empty = 0;
  for (const svg of document.querySelectorAll("svg")) \
empty += svg.getBoundingClientRect().height < 40;
  const fetched = performance.getEntriesByType("resource").map(one => one.name);
  const data = JSON.parse(document.getElementById("pepnet-data").textContent);
  console.error("probe ran");
  parent.document.body.dataset.found = JSON.stringify({width: root.clientWidth, \
scroll: root.scrollWidth, wide, empty, fetched,
    charts: document.querySelectorAll("svg").length, runs: data.runs.length});
});</script>"""
FOUND = "data-found=\""


def browser():
    for name in (os.environ.get("PEPNET_CHROMIUM"), *NAMES):
        if name and shutil.which(name):
            return shutil.which(name)
    return None


class BrowserTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory()
        job = trained_job(cls.scratch.name)
        cls.page = job.directory / "page.html"
        pepnet("report", job.model_dir, "-o", cls.page)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def run_browser(self, width, page, *arguments):
        with tempfile.TemporaryDirectory() as profile:
            result = subprocess.run(
                [browser(), "--headless", "--no-sandbox", "--disable-gpu",
                 "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr",
                 f"--user-data-dir={profile}", f"--window-size={width},6000", *arguments,
                 page.as_uri()], capture_output=True, text=True, timeout=180)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout, [line for line in result.stderr.splitlines() if ":CONSOLE" in line]

    def test_each_width(self):
        for width in (400, 1400):
            with self.subTest(width=width):
                probed = self.page.with_name("probed.html")
                probed.write_text(FRAME.format(
                    width=width, page=html.escape(self.page.read_text() + PROBE)))
                dom, console = self.run_browser(1500, probed, "--dump-dom")
                self.assertEqual(
                    len(console), 1,
                    f"the probe's own word proves that complaints are heard: {console}")
                self.assertIn("probe ran", console[0])
                found = json.loads(html.unescape(dom.split(FOUND)[1].split('"')[0]))
                print(width, found)
                self.assertEqual(found["width"], width)
                self.assertLessEqual(found["scroll"], width, "nothing stands out at the right")
                self.assertEqual((found["wide"], found["empty"], found["fetched"]), ([], 0, []))
                self.assertGreater(found["charts"], 12)

                shot = self.page.with_suffix(f".{width}.png")
                _, console = self.run_browser(width, self.page, f"--screenshot={shot}")
                self.assertEqual(console, [], "the page itself gives no cause for complaint")
                pixels = matplotlib.image.imread(shot)
                self.assertEqual(pixels.shape[1], width)
                colours = collections.Counter(map(
                    tuple, (pixels[:, :, :3] * 255).round().astype(int).reshape(-1, 3).tolist()))
                self.assertGreater(colours[(0x00, 0x72, 0xB2)], 500,
                                   "curves in the first run's colour")
                self.assertGreater(colours[(255, 255, 255)], pixels.shape[0] * width // 2,
                                   "on paper")


if __name__ == "__main__":
    if browser() is None:
        print(f"SKIPPED: none of {', '.join(NAMES)} is on the path; "
              "`apt-get install chromium` brings one")
        sys.exit(SKIPPED)
    unittest.main()
