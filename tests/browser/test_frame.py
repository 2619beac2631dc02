"""The frame that every page of both sites shares: colours, menu, command search, keyboard, headers."""

import pytest
from playwright.sync_api import expect

from tests.browser import looking
from tests.browser.window import PHONE, Visit
from tests.conftest import House

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


def test_the_colours_are_switched_and_kept(visit: Visit, people: House) -> None:
    olga = visit()
    olga.sign_in(people.olga)
    olga.page.click(".su-user")
    olga.page.click(".su-theme >> text=Dark")
    expect(olga.page.locator("html")).to_have_class("js dark")
    olga.goto("/clinic/")
    expect(olga.page.locator("html")).to_have_class("js dark")
    olga.looks_right("clinic-home-chosen-dark")


def test_the_menu_opens_and_closes_on_a_phone_by_keyboard(visit: Visit, people: House) -> None:
    olga = visit(width=PHONE)
    olga.sign_in(people.olga)
    olga.page.focus("#open-menu")
    olga.page.keyboard.press("Enter")
    expect(olga.page.locator("#close-menu")).to_be_focused()
    olga.looks_right("menu-open")
    olga.page.keyboard.press("Escape")
    expect(olga.page.locator("#open-menu")).to_be_focused()
    expect(olga.page.locator("#close-menu")).not_to_be_visible()


def test_the_command_search_goes_to_a_page(visit: Visit, people: House) -> None:
    ana = visit()
    ana.sign_in(people.ana)
    ana.page.keyboard.press("Control+k")
    expect(ana.page.locator("#search-input-command")).to_be_focused()
    ana.page.keyboard.type("clinic")
    ana.page.wait_for_selector("#command-results-list li")
    ana.looks_right("command")
    with ana.page.expect_navigation():
        ana.page.keyboard.press("Enter")
    assert "/agency/" in ana.page.url
    assert ana.page.url != f"{ana.origin}/agency/"


@pytest.mark.parametrize(
    ("width", "dark"),
    [
        pytest.param(1280, False, id="desk-light"),
        pytest.param(PHONE, True, id="phone-dark"),
        pytest.param(1280, True, id="desk-dark", marks=pytest.mark.proof),
        pytest.param(PHONE, False, id="phone-light", marks=pytest.mark.proof),
    ],
)
def test_every_list_of_both_sites_is_quiet_and_readable(visit: Visit, people: House, width: int, dark: bool) -> None:
    for person, site in ((people.ana, "agency"), (people.olga, "clinic")):
        window = visit(width=width, dark=dark)
        window.sign_in(person)
        links = window.page.locator("#nav-sidebar-apps a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        assert f"/{site}/" in links
        for link in links:
            window.goto(link)
            window.looks_right(link.strip("/").replace("/", "-"))


def test_a_page_is_walked_by_keyboard_and_the_focus_is_seen(visit: Visit, people: House) -> None:
    ana = visit()
    ana.sign_in(people.ana)
    names = looking.keyboard_path(ana.page)
    assert names[0] == "Skip to content"
    assert "Show or hide the menu" in names


def test_every_answer_carries_the_strict_policy(visit: Visit, people: House) -> None:
    ana = visit()
    ana.sign_in(people.ana)
    answer = ana.page.request.get(f"{ana.origin}/agency/")
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "no-store" in answer.headers["cache-control"]
