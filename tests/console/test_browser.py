"""Chromium looks at every page: in both languages and themes, small, enlarged, without script, on paper."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from sekisho.kernel.facts import Actor
from tests.console.looking import Pictures, addresses
from tests.console.world import HOSTILE, World, job_file, served

pytestmark = [pytest.mark.browser, pytest.mark.slow]

AXE = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}
COLOURS = {"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": ["cat.color"]}}
"""What a theme can change; test_contrast holds that it changes nothing else."""
OTHER_DRESSES: tuple[dict[str, Any], ...] = (
    {"color_scheme": "dark", "forced_colors": "none"},
    {"color_scheme": "light", "forced_colors": "active"},
)
PLAIN: dict[str, Any] = {"color_scheme": "light", "forced_colors": "none"}
LANGUAGES = ("en", "ja")
NARROW = {"width": 320, "height": 640}
WIDE = {"width": 1280, "height": 900}
SMALL_TARGETS = """
() => [...document.querySelectorAll('button, .button, input:not([type=hidden]), select')]
  .filter((e) => e.offsetParent && e.getBoundingClientRect().height < (e.matches('[type=radio], [type=checkbox]') ? 20 : 44))
  .map((e) => e.outerHTML.slice(0, 120))
"""


class Looker:
    """One person at one browser window; notes everything that must not happen."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.expected: set[int] = set()
        self._url = url
        self.page.on("console", lambda message: self._note(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        context.on("request", lambda request: self._check(request.url))

    def _note(self, text: str) -> None:
        status = re.search(r"status of (\d+)", text)
        if not (status and int(status[1]) in self.expected):
            self.complaints.append(text)

    def _check(self, url: str) -> None:
        if not url.startswith((f"{self._url}/", "data:", "blob:")):
            self.elsewhere.append(url)

    def go(self, path: str) -> Page:
        """Open a page."""
        self.page.goto(self._url + path)
        return self.page

    def press(self, name: str | re.Pattern[str]) -> None:
        """Press the one button of this name in the page's own part."""
        self.page.get_by_role("main").get_by_role("button", name=name, exact=isinstance(name, str)).click()


Open = Callable[..., contextlib.AbstractContextManager[Looker]]


@pytest.fixture
def look(browser: Browser, here: World) -> Open:
    """Open a browser window for a person; at its end nothing may have been said or fetched elsewhere."""

    @contextlib.contextmanager
    def opened(
        who: Actor | None = None, *, language: str = "en", theme: str = "light", **options: Any
    ) -> Iterator[Looker]:
        settings: dict[str, Any] = {"viewport": WIDE, "locale": language, "color_scheme": theme} | options
        with contextlib.closing(browser.new_context(**settings)) as context:
            context.set_default_timeout(15_000)
            looker = Looker(context, here.url)
            if who:
                looker.go(here.link(who))
                looker.press(re.compile("Sign in|サインインする"))
            yield looker
            assert looker.complaints == []
            assert looker.elsewhere == []

    return opened


def _pages(here: World) -> dict[str, str]:
    more = {
        "running": f"/jobs/{here.jobs['llm-running']}",
        "nowhere": f"/jobs/{here.jobs['nowhere']}",
        "array": f"/jobs/{here.jobs['sweep']}",
        "failed": f"/jobs/{here.jobs['broken']}/attempts/1",
        "unwanted": f"/jobs/{here.jobs['unwanted']}/cancel",
        "record": f"/ledger/{here.detail('llm-small').job.record_id}",
        "filtered": "/jobs?state=staging",
    }
    found = {re.sub(r"\W+", "-", path).strip("-") or "overview": at for path, at in addresses(here).items()}
    del found["signin"], found["signin-code"]
    return found | more


def _axe(page: Page) -> list[tuple[str, list[str]]]:
    return _violations(Axe().run(page, options=AXE).response)


def _violations(response: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(one["id"], [node["html"][:160] for node in one["nodes"]]) for one in response["violations"]]


def _faults(page: Page, pictures: Pictures, name: str) -> list[tuple[str, list[str]]]:
    """What axe finds on a page, and what it finds in the colours of other themes: those of one language are all."""
    pictures.take(page, f"{name}.light")
    found = _axe(page)
    for dress in OTHER_DRESSES if name.endswith(".en") else ():
        page.emulate_media(**dress)
        pictures.take(page, f"{name}.{'dark' if dress['forced_colors'] == 'none' else 'forced'}")
        found += _violations(page.evaluate("options => axe.run(document, options)", COLOURS))
    page.emulate_media(**PLAIN)
    return found


def _overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_accessible(look: Open, here: World, pictures: Pictures, language: str) -> None:
    found = {}
    with look(here.people.administrator, language=language) as looker:
        for name, path in _pages(here).items():
            found[name] = _faults(looker.go(path), pictures, f"{name}.{language}")
    assert {name: violations for name, violations in found.items() if violations} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_before_signing_in_and_refusals_are_accessible(
    look: Open, here: World, pictures: Pictures, language: str
) -> None:
    with look(language=language) as looker:
        looker.expected = {401, 403, 404, 422}
        for name, path in {
            "signin": "/signin",
            "link": here.link(here.people.engineer),
            "asks": "/jobs",
        }.items():
            assert _faults(looker.go(path), pictures, f"{name}.{language}") == [], name
        looker.go("/signin")
        looker.page.locator("#secret").fill("wrong")
        looker.press(re.compile("^Sign in$|^サインインする$"))
        expect(looker.page.get_by_role("alert")).to_be_visible()
        assert _faults(looker.page, pictures, f"wrong.{language}") == []
    with look(here.people.auditor, language=language) as looker:
        looker.expected = {403, 404, 422}
        looker.go("/nothing")
        assert _faults(looker.page, pictures, f"not-found.{language}") == []
        looker.go("/jobs/new")
        looker.page.locator("#file").fill("name: x\nrun: y\nresurces: 1\n")
        looker.page.locator("button[value=submit]").click()
        expect(looker.page.get_by_role("alert")).to_contain_text("resurces")
        assert _faults(looker.page, pictures, f"mistake.{language}") == []
        looker.go(f"/jobs/{here.jobs['llm-running']}/cancel")
        looker.press(re.compile("Cancel the job|ジョブを取り消す"))
        expect(looker.page.locator("main")).to_contain_text("charter.denied")
        assert _faults(looker.page, pictures, f"denial.{language}") == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_whole_story(look: Open, here: World, pictures: Pictures, language: str) -> None:
    """Sign in, submit with a mistake, mend it, watch, verify, keep the bundle, cancel another, sign out."""
    words = {
        "en": ("Submit", "Verify", "Export the bundle", "Holds", "Sign out"),
        "ja": ("投入する", "検証する", "証跡一式を書き出す", "確認できました", "サインアウトする"),
    }[language]
    name = f"story-{language}"
    with look(here.people.engineer, language=language, accept_downloads=True) as looker:
        looker.expected = {422}
        page = looker.go("/jobs/new")
        page.locator("#file").fill(job_file(name).replace("resources", "resorces"))
        looker.press(words[0])
        expect(page.get_by_role("alert")).to_contain_text("resorces")
        expect(page.locator("#file")).to_have_value(re.compile("resorces"))
        page.locator("#file").fill(job_file(name))
        looker.press(words[0])
        expect(page.get_by_role("heading", level=1)).to_contain_text(name)
        here.jobs[name] = page.url.rpartition("/")[2]
        agent = here.placed(name)
        agent.report(here.detail(name), *here.opening())
        agent.log(here.detail(name), f"hello\n{HOSTILE}\n")
        log = page.get_by_role("log")
        expect(log).to_contain_text(HOSTILE)
        assert log.evaluate("element => element.querySelectorAll('b, script').length") == 0
        here.finish(name, agent)
        expect(page.locator("[data-live-announce]")).not_to_be_empty()
        page.reload()
        looker.press(words[1])
        expect(page.get_by_role("heading", level=1)).to_contain_text(words[3])
        assert _faults(page, pictures, f"verdict.{language}") == []
        page.go_back()
        with page.expect_download() as download:
            looker.press(words[2])
        assert download.value.suggested_filename.endswith(".bundle.zip")
        page.get_by_role("button", name=words[4]).click()
        expect(page).to_have_url(re.compile("/signin$"))


def test_a_dropped_stream_goes_on_where_it_stopped(look: Open, here: World) -> None:
    name = "dropped"
    agent = here.run(name)
    agent.log(here.detail(name), "before\n")
    with look(here.people.engineer) as looker:
        looker.expected = {503}
        page = looker.go(f"/jobs/{here.jobs[name]}")
        status, log = page.locator("[data-live-status]"), page.get_by_role("log")
        expect(status).to_have_text("Live.")
        agent.log(here.detail(name), "during\n")
        expect(log).to_have_text(re.compile("before\nduring\n"))
        page.context.set_offline(offline=True)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        agent.log(here.detail(name), "while away\n")
        page.context.set_offline(offline=False)
        _hide_and_show(page)
        expect(log).to_have_text("before\nduring\nwhile away\n")
        page.get_by_role("button", name="Pause live updates").click()
        expect(status).to_contain_text("Paused; shown as of")
        agent.log(here.detail(name), "while paused\n")
        page.get_by_role("button", name="Pause live updates").click()
        expect(log).to_have_text("before\nduring\nwhile away\nwhile paused\n")
        looker.complaints.clear()
        here.finish(name, agent)
        expect(status).to_have_text("The job has ended; nothing will change here.")


def test_a_refused_stream_is_tried_again_and_says_so(look: Open, here: World) -> None:
    name = "refused-stream"
    agent = here.run(name)
    with look(here.people.engineer) as looker:
        looker.expected = {503}
        full = {"yes": True}

        def answer(route: Any) -> None:
            if full["yes"]:
                route.fulfill(status=503, body="{}")
            else:
                route.continue_()

        looker.page.route(re.compile(r"/live\?"), answer)
        page = looker.go(f"/jobs/{here.jobs[name]}")
        expect(page.locator("[data-live-status]")).to_contain_text("Connection lost; shown as of")
        full["yes"] = False
        agent.log(here.detail(name), "later\n")
        expect(page.get_by_role("log")).to_contain_text("later")
    here.finish(name, agent)


def _hide_and_show(page: Page) -> None:
    """What switching tabs does: the stream closes and opens again."""
    for hidden in ("true", "false"):
        page.evaluate(
            "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
            " document.dispatchEvent(new Event('visibilitychange')); }",
            hidden == "true",
        )


def test_the_focused_part_is_never_taken_away(look: Open, here: World) -> None:
    name = "focused"
    agent = here.run(name)
    with look(here.people.engineer) as looker:
        page = looker.go(f"/jobs/{here.jobs[name]}")
        expect(page.locator("[data-live-status]")).to_have_text("Live.")
        link = page.locator("[data-live=glance] a").first
        link.focus()
        agent.progress(here.detail(name), step=77)
        page.wait_for_timeout(1500)
        assert page.evaluate("document.activeElement.closest('[data-live]').dataset.live") == "glance"
        # As a word: the job's own id may hold the same two digits.
        expect(page.locator("[data-live=glance]")).not_to_contain_text(re.compile(r"\b77\b"))
        page.get_by_role("button", name="Pause live updates").focus()
        expect(page.locator("[data-live=glance]")).to_contain_text(re.compile(r"\b77\b"))
    here.finish(name, agent)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_is_whole_without_script(look: Open, here: World, language: str) -> None:
    with look(here.people.engineer, language=language, java_script_enabled=False) as looker:
        for name, path in _pages(here).items():
            if name in {"record", "proposals", "charter-version-test"}:  # not an engineer's to see
                continue
            page = looker.go(path)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
        page = looker.go(f"/jobs/{here.jobs['llm-small']}")
        expect(page.get_by_role("log")).to_contain_text("step 1 loss 7.6")
        looker.press(re.compile("^(Verify|検証する)$"))
        expect(page.get_by_role("heading", level=1)).to_contain_text(re.compile("Holds|確認できました"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_page_scrolls_sideways_on_a_small_screen_or_with_large_text(
    look: Open, here: World, pictures: Pictures, language: str
) -> None:
    wide = {}
    with look(here.people.administrator, language=language, viewport=NARROW) as looker:
        for name, path in _pages(here).items():
            page = looker.go(path)
            pictures.take(page, f"{name}.{language}.narrow")
            wide[name, "320"] = _overflow(page)
            page.set_viewport_size({"width": 1280, "height": 900})
            page.evaluate("document.documentElement.style.fontSize = '200%'")
            wide[name, "200%"] = _overflow(page)
            page.set_viewport_size({"width": 320, "height": 640})
    assert {name: pixels for name, pixels in wide.items() if pixels > 0} == {}


def test_targets_are_large_enough(look: Open, here: World) -> None:
    with look(here.people.administrator, viewport=NARROW) as looker:
        for path in _pages(here).values():
            page = looker.go(path)
            small = page.evaluate(SMALL_TARGETS)
            assert small == [], path


def test_states_keep_their_shape_in_forced_colours(look: Open, here: World) -> None:
    with look(here.people.administrator, forced_colors="active") as looker:
        page = looker.go("/jobs")
        assert _axe(page) == []
        for state in page.locator(".state").all():
            assert state.evaluate("e => getComputedStyle(e).borderTopStyle") == "solid"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_prints(look: Open, here: World, pictures: Pictures, language: str) -> None:
    with look(here.people.engineer, language=language, theme="dark") as looker:
        for name in ("jobs-job", "sites", "charter", "verify"):
            page = looker.go(_pages(here)[name])
            paper = page.pdf(format="A4", prefer_css_page_size=True)
            pictures.keep(paper, f"{name}.{language}.pdf")
            assert paper.startswith(b"%PDF-")
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        expect(page.get_by_role("navigation")).to_be_hidden()
        page.emulate_media(media="screen")


def test_everything_is_reached_by_keyboard(look: Open, here: World) -> None:
    with look(here.people.engineer) as looker:
        page = looker.go("/jobs")
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the content")
        expect(skip).to_be_focused()
        assert skip.bounding_box()["y"] >= 0  # type: ignore[index] - it is shown
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Submit a job")).to_be_focused()
        width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert width == "3px"


def test_the_policy_stops_what_does_not_belong(look: Open, here: World) -> None:
    with look(here.people.engineer) as looker:
        page = looker.go("/jobs")
        page.evaluate(
            "() => { const s = document.createElement('script'); s.textContent = 'window.taken = 1';"
            " document.body.append(s); document.body.setAttribute('style', 'color: red'); }"
        )
        assert page.evaluate("window.taken") is None
        assert len(looker.complaints) >= 1
        assert all("Content Security Policy" in text for text in looker.complaints)
        looker.complaints.clear()


def test_the_way_to_a_provider_on_another_host_is_open(browser: Browser, here: World) -> None:
    class Provider:
        """Sends everybody to the installation's own address, which is another origin than the console's here."""

        def begin(self, visit: str) -> str:
            return f"{here.url}/verify?visit={len(visit)}"

        def finish(self, visit: str, answer: Any) -> Any:
            raise AssertionError(visit, answer)

    with (
        served(here.control, outside=Provider()) as url,
        contextlib.closing(browser.new_context()) as context,
    ):
        page = context.new_page()
        page.goto(f"{url}/signin")
        page.get_by_role("link", name="Go to the provider").click()
        expect(page).to_have_url(re.compile(f"^{re.escape(here.url)}/verify"))
