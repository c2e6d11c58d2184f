"""The replay: stepping through a history on its diagram, and the proof that it is intact."""

from collections.abc import Iterator

import pytest
from desks import arriving, served
from playwright.sync_api import Browser, expect
from procedure import House

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A request that was sent back once and then came to the committee."""
    found = House.open(tmp_path_factory.mktemp("house"))
    instance = found.request("gate", to="sign_application")
    found.submit(instance, "sign_application", {"decision": "send_back", "comment": "时间不准"}, by="head")
    found.submit(instance, "fill_application", found.instance(instance).data["application"], by="applicant")
    found.lead(instance, to="vote_committee")
    yield found
    found.database.dispose()


@pytest.fixture(scope="module")
def url(house: House) -> Iterator[str]:
    with served(house) as address:
        yield address


def test_the_history_is_stepped_through_on_the_diagram(chromium: Browser, house: House, url: str) -> None:
    with arriving(chromium, url, "auditor") as guest:
        page = guest.open(f"/audit/cases/{house.requests()[0]}")
        replay = page.locator("[data-replay]")
        expect(replay).to_have_attribute("data-ready", "1")
        events, slider, output = (
            replay.locator("[data-events] li"),
            replay.locator("input[type=range]"),
            replay.locator("output"),
        )
        count = events.count()
        assert count > 20

        def drawn(element: str) -> str:
            return page.locator(f'.djs-element[data-element-id="{element}"]').get_attribute("class") or ""

        # at the end: three members are asked at once
        expect(output).to_contain_text(f"{count}/{count}")
        assert "is-active" in drawn("vote_committee")
        assert "is-done" in drawn("review_request")
        assert "✓2" in page.locator('.djs-overlays[data-container-id="fill_application"]').inner_text()

        # the keys
        page.keyboard.press("Home")
        expect(output).to_have_text(f"0/{count}")
        assert "is-" not in drawn("start_request")
        expect(replay.get_by_role("button", name="One step back")).to_be_disabled()
        page.keyboard.press("ArrowRight")
        expect(output).to_contain_text(f"1/{count}")
        assert "is-active is-now" in drawn("start_request")
        page.keyboard.press("End")
        page.keyboard.press("ArrowLeft")
        expect(output).to_contain_text(f"{count - 1}/{count}")

        # the list: the first signature was reached, the review not yet
        events.filter(has_text="Department head signs").first.locator("button").click()
        assert "is-active" in drawn("sign_application")
        assert "is-" not in drawn("review_request")
        assert "is-done" not in drawn("decide_signature")
        expect(replay.locator("li[aria-current=step]")).to_contain_text("Department head signs")

        # the slider and its buttons
        slider.focus()
        page.keyboard.press("ArrowRight")
        step = int(slider.input_value())
        replay.get_by_role("button", name="One step forward").click()
        assert int(slider.input_value()) == step + 1
        assert slider.get_attribute("aria-valuetext") == output.inner_text()


def test_the_time_that_each_step_took_is_drawn_and_named(chromium: Browser, house: House, url: str) -> None:
    with arriving(chromium, url, "auditor", viewport={"width": 390, "height": 844}) as guest:
        page = guest.open(f"/audit/cases/{house.requests()[0]}")
        expect(page.locator("[data-replay]")).to_have_attribute("data-ready", "1")
        assert page.locator('[class*="heat-"]').count() == 0
        page.get_by_label("Colour by duration").check()
        assert page.locator('[class*="heat-"]').count() > 5
        guest.examine("replay with durations")


def test_a_flipped_byte_turns_the_good_verdict_bad(chromium: Browser, house: House, url: str) -> None:
    instance = house.requests()[0]
    with arriving(chromium, url, "auditor") as guest:
        page = guest.open(f"/audit/cases/{instance}")
        page.get_by_role("link", name="Verify").click()
        expect(page.get_by_role("status").filter(has_text="The history is intact")).to_be_visible()
        with house.database.writer.connect() as connection:
            connection.exec_driver_sql(
                "UPDATE history SET payload = replace(payload, '时间不准', '时间不对') WHERE seq = 3"
            )
            connection.commit()
        page.get_by_role("link", name="Verify").click()
        expect(page.get_by_role("alert")).to_contain_text("The history is not what was written")
        page.get_by_role("alert").get_by_role("link", name="Event 3").first.click()
        expect(page.locator("#event-3")).to_be_in_viewport()
        guest.data |= {"时间不准", "时间不对"}
        guest.examine("verdict")
