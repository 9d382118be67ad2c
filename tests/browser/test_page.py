"""The page in Chromium: opened from disk, alone, with its script and without, small and large, light and dark."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from compare.__main__ import main

AXE = Path(os.environ["AXE"]).read_text(encoding="utf-8")
FAKES = "tests.compare.fake_adapters:"
RUNS = {
    "agree": ["--frameworks", "numpy", "--problems", "document", "sigmoid", "--networks", "200"],
    "mismatch": [
        *["--frameworks", "numpy", "--problems", "document", "--networks", "200", "--dtypes", "float32", "float64"],
        *[option for name in ("WrongValue", "NotANumber", "WrongDtype", "Crashes", "ReturnsNothing", "NoFloat64")
          for option in ("--adapter", FAKES + name)],
    ],
}  # fmt: skip
WIDTHS, SCHEMES = (390, 1440), ("light", "dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has none
        yield playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of a run in which all agree, and of one in which adapters fail in every way."""
    folders = {name: tmp_path_factory.mktemp(name) for name in RUNS}
    for name, options in RUNS.items():
        assert main([*options, "--report", str(folders[name])]) == ["agree", "mismatch"].index(name)
    return folders


@contextmanager
def opened(browser: Browser, folder: Path, width: int = 1440, scheme: Any = "light", **context: Any) -> Iterator[Page]:
    """The page from disk; nothing may be fetched, and nothing may be said on the console."""
    with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **context) as own:
        page, noticed = own.new_page(), []
        page.on("console", lambda message: noticed.append(message.text))
        page.on("pageerror", lambda error: noticed.append(str(error)))
        page.on("request", lambda request: noticed.append(request.url))
        url = (folder / "index.html").as_uri()
        page.goto(url)
        yield page
        assert noticed == [url]


def figure(folder: Path, dtype: str) -> dict[str, dict[str, str]]:
    content = json.loads((folder / "results.json").read_bytes())
    numbers: dict[str, dict[str, str]] = content["shown"]["numpy"]["eager"][dtype]["figure"]
    return numbers


EVERYWHERE = pytest.mark.parametrize(("width", "scheme"), [*product(WIDTHS, SCHEMES)])


@EVERYWHERE
@pytest.mark.parametrize("name", RUNS)
def test_opens_from_disk_alone_and_fits(browser, made, name, width, scheme):
    with opened(browser, made[name], width, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness = sum(map(int, background[4:-1].split(", "))) / 3
        assert (lightness > 200) == (scheme == "light")


@EVERYWHERE
@pytest.mark.parametrize("name", RUNS)
def test_everyone_can_use_it(browser, made, name, width, scheme):
    """axe-core, with every formula closed and open: no violation that is serious or critical."""
    with opened(browser, made[name], width, scheme) as page:
        page.evaluate(AXE)
        for _ in range(2):
            found = page.evaluate("axe.run()")
            assert len(found["passes"]) > 20
            serious = [
                (violation["id"], violation["nodes"][0]["html"][:200])
                for violation in found["violations"]
                if violation["impact"] in ("serious", "critical")
            ]
            assert serious == []
            page.evaluate("document.querySelectorAll('details').forEach((part) => part.open = true)")


def test_formulas_are_typeset(browser, made):
    with opened(browser, made["agree"]) as page:
        for number in (*range(1, 23), "b1", "b2"):
            formula = page.locator(f"#f{number} > summary math")
            assert formula.count() == 1
            box = formula.bounding_box()
            assert box is not None
            assert box["width"] > 40
            assert box["height"] > 12
        heights = page.evaluate("[...document.querySelectorAll('#f9 mfrac')].map((part) => part.clientHeight)")
        assert min(heights) > 20  # a fraction has two lines


@pytest.mark.parametrize("width", WIDTHS)
def test_choosing_a_weight_shows_the_digits_of_the_results(browser, made, width):
    with opened(browser, made["agree"], width) as page:
        assert page.locator(".panel:visible").count() == 1
        page.locator("[data-pick=pick-u31] text").click()
        panel = page.locator(".panel:visible")
        assert panel.get_attribute("id") == "pick-u31"
        assert page.locator("[aria-current]").get_attribute("data-pick") == "pick-u31"
        for dtype in ("float64", "float32", "float16"):
            numbers = figure(made["agree"], dtype)
            for name in ("dL_da[1][0, 0]", "h[0][0, 2]", "dL_dw[1][2, 0]", "w_new[1][2, 0]"):
                assert numbers[name]["decimal"] in panel.inner_text()


def test_choosing_by_the_keyboard(browser, made):
    with opened(browser, made["agree"]) as page:
        page.locator("[data-pick=pick-h2]").focus()
        page.keyboard.press("Enter")
        panel = page.locator(".panel:visible")
        assert panel.get_attribute("id") == "pick-h2"
        assert figure(made["agree"], "float64")["dL_da[0][0, 1]"]["decimal"] in panel.inner_text()


def test_every_part_of_the_figure_can_be_chosen_where_it_is_drawn(browser, made):
    """No arrow lies above another one's label."""
    with opened(browser, made["agree"]) as page:
        for pick in page.locator("[data-pick]").all():
            pick.locator("text").first.click()
            assert page.locator(".panel:visible").get_attribute("id") == pick.get_attribute("data-pick")


def test_link_to_a_command_opens_it(browser, made):
    with opened(browser, made["agree"]) as page:
        page.locator("#f13 > summary").click()
        link = page.locator("#f13 tbody a").first
        command = page.locator(str(link.get_attribute("href")))
        assert not command.is_visible()
        link.click()
        page.wait_for_function("document.querySelector(':target')?.checkVisibility()")
        assert "nox -s compare -- --frameworks numpy" in command.inner_text()


@EVERYWHERE
def test_without_its_script_every_panel_is_a_table(browser, made, width, scheme):
    with opened(browser, made["agree"], width, scheme, java_script_enabled=False) as page:
        assert page.locator(".panel:visible").count() == 21  # every unit and weight of the figure
        for name, part in (
            ("dL_dw[0][0, 0]", "w11"),
            ("dL_dw[1][2, 1]", "u32"),
            ("dL_da[0][0, 1]", "h2"),
            ("loss", "t1"),
        ):
            assert figure(made["agree"], "float32")[name]["decimal"] in page.locator(f"#pick-{part}").inner_text()
        page.locator("#f18 > summary").click()
        assert page.locator("#f18 tbody").is_visible()
        page.locator("[data-pick=pick-w23] text").click()
        assert page.url.endswith("#pick-w23")
        assert page.locator("#pick-w23 h3").is_visible()


def test_failures_are_what_is_seen_first(browser, made):
    with opened(browser, made["mismatch"]) as page:
        first = page.locator("main h2").first
        assert first.inner_text() == "Failures"
        box = page.locator("#failures").bounding_box()
        assert box is not None
        assert box["y"] < 900


def test_prints(browser, made):
    with opened(browser, made["agree"], scheme="dark") as page:
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.locator("nav").is_hidden()
        assert page.pdf(format="A4").count(b"/Type /Page\n") < 20
