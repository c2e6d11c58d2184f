"""A person at a browser: signs in, looks at pages, and notices everything that a page must not do."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Error, Page, Request, Response, expect

from engine.settings import ROOT
from web import seed

AXE = ROOT / "web" / "assets" / "node_modules" / "axe-core" / "axe.min.js"
AXE_RUN = """() => axe.run(document, {resultTypes: ['violations']}).then(found => found.violations
  .filter(one => ['serious', 'critical'].includes(one.impact))
  .map(one => `${one.id} (${one.impact}): ${one.help}: ` + one.nodes.slice(0, 4).map(node => node.html.slice(0, 160)
    + ' ' + (node.any[0]?.message ?? '')).join(' | ')))"""

REPORT_VIOLATIONS = """addEventListener('securitypolicyviolation', event => console.error(
  `content policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`))"""

TEXTS = """() => {
  const found = [document.title], read = ['aria-label', 'aria-valuetext', 'title', 'placeholder', 'alt'];
  const technical = ['after', 'component', 'copy', 'events', 'filter', 'hide', 'job', 'key', 'kind', 'labels',
    'replay', 'src', 'verified'];
  const symbols = '.hash, .digest, .bjs-powered-by, textarea, output.input';
  const spoken = document.documentElement.lang.slice(0, 2);
  const foreign = node => {
    const named = node.closest('[lang]');
    return named && named.lang.slice(0, 2) !== spoken;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
  for (let node = walker.currentNode; node; node = walker.nextNode()) {
    if (node.nodeType === Node.TEXT_NODE) {
      const parent = node.parentElement;
      if (!parent.closest(`script, style, noscript, code, kbd, pre, ${symbols}`) && !foreign(parent))
        found.push(node.textContent);
      continue;
    }
    if (foreign(node)) continue;
    if (node.closest(symbols)) continue;
    for (const name of read) if (node.hasAttribute(name)) found.push(node.getAttribute(name));
    if (node.closest('.djs-container')) continue;
    for (const [name, text] of Object.entries(node.dataset)) if (!technical.includes(name)) found.push(text);
  }
  return found.map(text => text.replace(/\\s+/g, ' ').trim()).filter(Boolean);
}"""

CJK = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")
NEUTRAL = re.compile(
    r"调取-\d{4}-\d{4}|(archive|cases|masters|viewing|reports|forms)/[\w./-]+|\b(primary|backup): |\d (B|KB|MB|GB)\b|"
    r"\b(Diaoqu|SHA-256|UTC|PDF|BPMN|ONVIF|onvif|RTSP|hevc|h264|SIM-\d+|Simulated recorder|Home|End)\b|"
    r"\b(kB/s|PEM|https|rtsps|Basic|Asia/Shanghai)\b|"
    r"\.(bpmn|dmn|form)\b|1号录像机|ffmpeg( \d[\w.+-]+)?"
)
"""What is the same in both languages: numbers of cases, places in a store, sizes, names of makes, formats and zones."""
LATIN = re.compile(r"[A-Za-z]{2,}")


@dataclass
class Visitor:
    """One person in one browser context. `complaints` collects what no page may do; the fixture asserts it is empty.

    `data` is what the people of a test have typed: a page shows it in whatever language it is.
    """

    name: str
    page: Page
    context: BrowserContext
    url: str
    language: str
    data: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    _expected: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.context.add_init_script(REPORT_VIOLATIONS)
        self.context.add_cookies([{"name": "diaoqu_lang", "value": self.language, "url": self.url}])
        for page in self.context.pages:
            self._watch(page)
        self.context.on("page", self._watch)

    # ---- what must not happen

    def _watch(self, page: Page) -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._complain(f"script error: {error}"))
        page.on("requestfailed", self._on_failed)
        page.on("response", self._on_response)

    def _complain(self, text: str) -> None:
        self.complaints.append(f"{self.name} at {self.page.url.removeprefix(self.url)}: {text}")

    def _on_console(self, message: ConsoleMessage) -> None:
        refused = re.match(r"Failed to load resource: the server responded with a status of (\d+)", message.text)
        if message.type in {"error", "warning"} and not (refused and int(refused[1]) in self._expected):
            self._complain(f"console: {message.text}")

    def _on_failed(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # leaving a page ends what it still asks for: that is no failure
            self._complain(f"request failed: {request.method} {request.url} {request.failure}")

    def _on_response(self, response: Response) -> None:
        if not response.url.startswith((self.url, "data:", "blob:")):
            self._complain(f"foreign address: {response.url}")
        if response.status >= 400 and response.status not in self._expected:
            self._complain(f"{response.request.method} {response.url}: {response.status}")

    @contextmanager
    def expecting(self, *statuses: int) -> Iterator[None]:
        """Inside, answers with these statuses are no complaint."""
        self._expected |= set(statuses)
        yield
        self.page.evaluate("0")  # everything that the page has said so far has arrived
        self._expected -= set(statuses)

    # ---- going about

    def open(self, path: str) -> Page:
        try:
            self.page.goto(f"{self.url}{path}")
        except Error as error:
            if "interrupted by another navigation" not in error.message:
                raise
            self.page.goto(f"{self.url}{path}")  # the page before was just drawing itself anew
        return self.page

    def sign_in(self, password: str = seed.PASSWORD) -> "Visitor":
        self.open("/sign-in")
        self.page.locator("#username").fill(self.name)
        self.page.locator("#password").fill(password)
        self.page.locator("main button.primary").click()
        expect(self.page.locator(".site-header summary.tool")).to_be_visible()
        return self

    @property
    def path(self) -> str:
        return self.page.url.removeprefix(self.url)

    @property
    def main(self) -> Any:
        return self.page.locator("main")

    def primary(self) -> None:
        """Press the one primary action of the page."""
        self.main.locator("button.primary").click()

    # ---- looking closely

    def look(self, title: str) -> None:
        """Examine the page as it is, then in the other language, and come back; loses what is typed in it."""
        self.examine(title)
        own, other = self.language, {"zh": "en", "en": "zh"}[self.language]
        address = self.page.url.split("#")[0]
        for language in (other, own):
            self.page.goto(f"{address}{'&' if '?' in address else '?'}lang={language}")
            self.language = language
            if language == other:
                self.examine(title)

    def examine(self, title: str) -> None:
        """The page is accessible, speaks one language and does not scroll sideways."""
        page = self.page
        page.wait_for_load_state("load")
        for drawn in page.locator("[data-diagram], [data-replay]").all():
            if drawn.is_visible():
                expect(drawn).to_have_attribute("data-ready", "1")
        if not page.evaluate("'axe' in window"):
            page.evaluate(AXE.read_text())
        self.complaints += [f"{title} ({self.language}): {found}" for found in page.evaluate(AXE_RUN)]
        self.complaints += [f"{title} ({self.language}): other language: {text}" for text in self.foreign_texts()]
        wide, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        if wide > room:
            self.complaints.append(f"{title} ({self.language}): {wide} px wide in a window of {room} px")
        self.picture(title)

    def foreign_texts(self) -> list[str]:
        """Texts of the page that are in the other language, data set aside."""
        words = CJK if self.language == "en" else LATIN
        found = []
        for text in dict.fromkeys(self.page.evaluate(TEXTS)):
            rest = NEUTRAL.sub(" ", text)
            for known in sorted(self.data, key=len, reverse=True):
                rest = rest.replace(known, " ")
            if words.search(rest):
                found.append(text)
        return found

    def picture(self, title: str) -> None:
        """A picture of the page, where DIAOQU_TEST_PICTURES names a folder for them."""
        folder = os.environ.get("DIAOQU_TEST_PICTURES")
        if folder:
            size = self.page.viewport_size or {"width": 0}
            dark = "-dark" if self.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else ""
            name = re.sub(r"\W+", "-", f"{title}-{size['width']}{dark}-{self.language}")
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
