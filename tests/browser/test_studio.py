"""The modeler: a step, an operator, a condition and a form are changed, checked, and deployed with a note."""

from collections.abc import Iterator

import pytest
from desks import arriving, served
from looking import Visitor
from playwright.sync_api import Browser, Locator, Page, expect
from procedure import House

from engine import definitions
from engine.lint import read_xml

pytestmark = pytest.mark.browser

DESK = "/studio/footage_retrieval"
SPIFF = "{http://spiffworkflow.org/bpmn/schema/1.0/core}"
BPMN = "{http://www.omg.org/spec/BPMN/20100524/MODEL}"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = House.open(tmp_path_factory.mktemp("house"))
    yield found
    found.database.dispose()


@pytest.fixture(scope="module")
def url(house: House) -> Iterator[str]:
    with served(house) as address:
        yield address


def modeler(guest: Visitor, path: str = DESK) -> Page:
    page = guest.open(path)
    expect(page.locator("[data-modeler]")).to_have_attribute("data-ready", "1")
    return page


def select(page: Page, element: str) -> None:
    """As a click on it; the diagram is larger than the window, so the test moves it into view first.

    A click takes the focus from the panel's field before it selects. Without that the field would commit while the
    panel already shows the next element, and the panel would go back to the one before.
    """
    page.locator("[data-modeler]").evaluate(
        """(root, id) => {
          const canvas = root.modeler.get('canvas'), element = root.modeler.get('elementRegistry').get(id);
          document.activeElement.blur();
          canvas.scrollToElement(element, 160);
          root.modeler.get('selection').select(element);
        }""",
        element,
    )
    expect(page.locator("#bio-properties-panel-id")).to_have_value(element)


def entry(page: Page, group: str, name: str) -> Locator:
    """A field of the properties panel; its section opens by itself."""
    found = page.locator(f'[data-group-id="group-diaoqu-{group}"] [data-entry-id="{name}"]')
    return found.locator("input, textarea, select").first


def checked(page: Page, change) -> None:  # type: ignore[no-untyped-def]
    """Make a change and wait until the server has checked it."""
    root = page.locator("[data-modeler]")
    before = root.get_attribute("data-linted") or "0"
    change()
    expect(root).not_to_have_attribute("data-linted", before)


def examine(guest: Visitor, title: str) -> None:
    """As `Visitor.examine`, but a diagram, its forms and its variables are named alike in every language."""
    guest.foreign_texts = list  # type: ignore[method-assign]
    guest.examine(title)


def deployed(house: House):  # type: ignore[no-untyped-def]
    """The newest version and its diagram."""
    with house.database.reading() as session:
        found = definitions.latest(session, "footage_retrieval")
        return found, read_xml(definitions.files(session, found.id)[found.file])


def element(root, identity: str):  # type: ignore[no-untyped-def]
    return next(node for node in root.iter() if node.get("id") == identity)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_modeler_opens_without_findings_and_is_accessible(chromium: Browser, house, url, language) -> None:
    with arriving(chromium, url, "owner", language) as guest:
        page = modeler(guest)
        expect(page.locator(".properties")).to_contain_text("General" if language == "en" else "常规")
        expect(page.locator("[data-status]")).to_have_class("chip good")
        select(page, "review_request")
        if language == "zh":
            for one in (
                "sign_application",
                "verify_coverage",
                "prepare_vote",
                "decide_votes",
                "head_deadline",
                "retrieve_camera",
            ):
                select(page, one)
            assert page.locator("[data-modeler]").evaluate("root => [...root.untranslated]") == []
        examine(guest, f"modeler {language}")


def test_a_change_of_step_operator_condition_and_form_is_deployed_as_the_next_version(chromium: Browser, house, url):
    before = house.request("gate", to="review_request")
    with arriving(chromium, url, "owner") as guest:
        page = modeler(guest)

        select(page, "review_request")
        form = entry(page, "form", "form")
        expect(form).to_have_value("review.form")
        form.select_option("head_decision.form")
        checked(page, lambda: entry(page, "form", "dueIn").fill("P1D"))

        select(page, "decide_review_to_verify_coverage")
        condition = entry(page, "condition", "condition")
        checked(page, lambda: condition.fill("review.decision == 'approve'"))

        select(page, "verify_coverage")
        operator = entry(page, "operator", "operator")
        expect(operator).to_have_value("recorder/coverage")
        operator.select_option("recorder/preflight")
        expect(entry(page, "operator", "parameter-cameras")).to_have_value("cameras")
        checked(page, lambda: operator.select_option("recorder/coverage"))
        entry(page, "operator", "resultVariable").fill("coverage")
        for name in ("cameras", "start_at", "end_at"):
            checked(page, lambda name=name: entry(page, "operator", f"parameter-{name}").fill(f"application.{name}"))

        # a step more, between the review and its gateway
        page.locator("[data-modeler]").evaluate(
            """root => {
              const modeling = root.modeler.get('modeling'), registry = root.modeler.get('elementRegistry');
              const flow = registry.get('review_request_to_decide_review'), shape = root.modeler.get('elementFactory')
                .createShape({type: 'bpmn:ManualTask'});
              const middle = flow.waypoints[0];
              modeling.createShape(shape, {x: middle.x + 60, y: middle.y}, registry.get('participant_company'));
              modeling.reconnectEnd(flow, shape, {x: shape.x, y: shape.y + 40});
              modeling.connect(shape, registry.get('decide_review'));
              modeling.updateProperties(shape, {name: '电话核实'});
            }"""
        )
        expect(page.locator("[data-status]")).to_have_class("chip good")

        page.get_by_label("What changed and why").fill("The reviewer calls back")
        page.get_by_role("button", name="Deploy").click()
        expect(page.get_by_text("Version 2 is deployed. Cases under way stay on theirs.")).to_be_visible()

    version, root = deployed(house)
    assert (version.version, version.deployment_id) == (2, 2)
    review = {node.get("name"): node.get("value") for node in element(root, "review_request").iter(f"{SPIFF}property")}
    assert (review["formJsonSchemaFilename"], review["dueIn"]) == ("head_decision.form", "P1D")
    coverage = element(root, "verify_coverage").find(f".//{SPIFF}serviceTaskOperator")
    assert (coverage.get("id"), coverage.get("resultVariable")) == ("recorder/coverage", "coverage")
    assert [(node.get("id"), node.get("type"), node.get("value")) for node in coverage.iter(f"{SPIFF}parameter")] == [
        ("cameras", "list", "application.cameras"),
        ("start_at", "str", "application.start_at"),
        ("end_at", "str", "application.end_at"),
    ]
    assert element(root, "decide_review_to_verify_coverage").findtext(f"{BPMN}conditionExpression") == (
        "review.decision == 'approve'"
    )
    added = next(node for node in root.iter(f"{BPMN}manualTask") if node.get("name") == "电话核实")
    assert element(root, "review_request_to_decide_review").get("targetRef") == added.get("id")
    assert root.get("targetNamespace") == "urn:diaoqu:footage-retrieval"  # what was not touched came back as it was
    assert element(root, "decide_votes").findtext(f".//{SPIFF}calledDecisionId") == "committee_votes"
    after = house.request("gate", to="review_request")
    assert [house.instance(one).version for one in (before, after)] == [1, 2]
    house.lead(before, to="vote_committee")


def test_findings_are_drawn_on_their_elements_and_lead_to_them(chromium: Browser, house: House, url: str) -> None:
    with arriving(chromium, url, "owner") as guest:
        page = modeler(guest)
        select(page, "decide_signature_to_review_request")
        checked(page, lambda: entry(page, "condition", "condition").fill("head_decision.decision === 'approve'"))
        expect(page.locator("[data-status]")).to_have_class("chip bad")
        expect(page.get_by_role("button", name="Deploy")).to_be_disabled()
        found = page.locator("[data-problems] li")
        expect(found).to_have_count(1)
        expect(found).to_contain_text("The expression cannot be executed")
        drawn = page.locator('.djs-element[data-element-id="decide_signature_to_review_request"]')
        assert "is-problem" in (drawn.get_attribute("class") or "")

        select(page, "open_case")
        found.get_by_role("button").click()
        expect(page.locator(".bio-properties-panel-header-type")).to_have_text("Sequence Flow")
        examine(guest, "modeler with findings")

        checked(page, lambda: page.get_by_role("button", name="Undo").click())
        expect(page.locator("[data-problems] li")).to_have_count(0)
        expect(page.get_by_role("button", name="Deploy")).to_be_enabled()
        page.locator("[data-modeler]").evaluate("root => { delete root.dataset.changed; }")


def test_a_finding_without_an_element_is_listed_and_what_somebody_else_deployed_is_kept(chromium: Browser, house, url):
    with arriving(chromium, url, "owner") as guest:
        page = modeler(guest)
        version, _root = deployed(house)
        page.locator("[data-modeler]").evaluate(
            "root => { const xml = root.modeler.saveXML.bind(root.modeler);"
            " root.modeler.saveXML = async options => ({xml: '<!DOCTYPE a>' + (await xml(options)).xml}); }"
        )
        select(page, "review_request")
        checked(page, lambda: entry(page, "form", "dueIn").fill("P3D"))
        expect(page.locator("[data-problems] li")).to_contain_text("document type declaration")
        assert page.locator("[data-problems] li button").count() == 0

    with arriving(chromium, url, "admin") as first, arriving(chromium, url, "owner") as second:
        for guest, due in ((first, "P5D"), (second, "P6D")):
            page = modeler(guest)
            select(page, "review_request")
            checked(page, lambda page=page, due=due: entry(page, "form", "dueIn").fill(due))
            page.get_by_label("What changed and why").fill(f"due in {due}")
        first.page.get_by_role("button", name="Deploy").click()
        expect(first.page.get_by_text("is deployed")).to_be_visible()
        with second.expecting(409):
            second.page.get_by_role("button", name="Deploy").click()
            expect(second.page.get_by_role("alert")).to_contain_text("has deployed version")
        second.page.locator("[data-modeler]").evaluate("root => { delete root.dataset.changed; }")
    assert deployed(house)[0].version == version.version + 1
