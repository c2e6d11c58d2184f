"""Personal data of a whole case on the real system: in no file, masked, disclosed, erased (N3, Forms, PIPL)."""

import io
from collections.abc import Iterator

import orjson
import pypdf
import pytest
from click.testing import CliRunner
from office import Office, Request
from stages import POLICE, Arrive
from visitor import PASSWORD, refusals

from device.bags import verify_bag
from engine import replay
from web.cli import main

pytestmark = pytest.mark.long

PAPER, OFFICERS = POLICE["id_number"], POLICE["officers"]
SECRETS = (PAPER, POLICE["phone"].removeprefix("+86"), "欧阳警官", "司马警官", "061234")


@pytest.fixture
def archived(at: Arrive) -> Request:
    return at("archived", "police")


def written(office: Office) -> Iterator[tuple[str, bytes]]:
    """Every file of the installation: database and its log, stores, working folders; printed forms as text."""
    for path in sorted(office.folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(office.folder)), path.read_bytes()
            if path.suffix == ".pdf":
                yield f"text of {path.name}", text_of(path.read_bytes()).encode()


def text_of(pdf: bytes) -> str:
    return "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(pdf)).pages).replace("\n", "")


def erase(request: Request, *, second: str = "member1", password: str = PASSWORD) -> str:
    """`diaoqu case erase` by the archivist and somebody else; what it says."""
    office = request.office
    settings = office.settings
    environment = {
        "DIAOQU_DATA": str(settings.data),
        "DIAOQU_SECRET_KEY": settings.secret_key,
        "DIAOQU_STORE_PRIMARY": settings.store_primary,
        "DIAOQU_STORE_BACKUP": settings.store_backup,
    }
    words = ["case", "erase", request.case.number, "--disposal", "销毁-2029-1", "--reason", "期满"]
    words += ["--by", "archivist", "--with", second]
    with office.time():
        return CliRunner().invoke(main, words, input=f"{PASSWORD}\n{password}\n", env=environment).output


# ---- nowhere in the clear -------------------------------------------------------------------------------------------


def test_p3_personal_data_of_a_whole_case_is_in_no_file_of_the_installation(archived: Request) -> None:
    office = archived.office
    applicant = office.person("applicant")
    typed = {**applicant.form("/requests/new"), **POLICE, "_intent": "draft"}
    assert applicant.post("/requests/new", typed).status_code == 302
    assert applicant.form("/requests/new")["id_number"] == PAPER, "the draft comes back as it was typed"
    names = set()
    for name, content in written(office):
        names.add(name)
        for secret in SECRETS:
            for bytes_of_it in (secret.encode(), orjson.dumps(secret)[1:-1], secret.encode("utf-16-be")):
                assert bytes_of_it not in content, f"{secret} in {name}"
    assert {"diaoqu.db", "text of application_form.pdf", "text of record_form.pdf"} <= names
    assert any(name.endswith("process_data.json") for name in names)


def test_4_2_the_archived_forms_say_where_personal_data_stood_and_the_service_prints_it(archived: Request) -> None:
    key = archived.data["archive"]["key"]
    bag = archived.office.folder / "store" / "primary" / str(key)
    assert "（个人信息，加密保存）" in text_of((bag / "data/forms/application_form.pdf").read_bytes())
    printed = text_of(archived.office.person("archivist").get(f"{archived.page}/documents/application.pdf").data)
    assert "110***********1239" in printed
    assert "欧阳警官（****34）" in printed
    assert PAPER not in printed


# ---- masked and disclosed -------------------------------------------------------------------------------------------


def test_papers_are_masked_until_somebody_says_why_and_that_is_logged(archived: Request) -> None:
    reviewer = archived.office.person("reviewer")
    page = reviewer.get(archived.page).text
    assert "110***********1239" in page
    assert PAPER not in page
    assert reviewer.post(archived.page, {"reason": ""}).status_code == 422
    assert archived.log("disclosed") == []
    full = reviewer.post(archived.page, {"reason": "核对身份"})
    assert PAPER in full.text
    assert OFFICERS in full.text
    assert full.headers["Cache-Control"] == "no-store"
    (event,) = archived.log("disclosed")
    assert event.actor == "reviewer"
    assert orjson.loads(event.details) == {"reason": "核对身份"}
    assert "核对身份" in archived.office.person("auditor").get(f"{archived.page}/custody").text


@pytest.mark.parametrize(("who", "status"), [("head", 403), ("applicant", 403), ("stranger", 404)])
def test_who_has_no_office_sees_no_papers_in_full(archived: Request, who: str, status: int) -> None:
    answer = archived.office.person(who).post(archived.page, {"reason": "curious"})
    assert answer.status_code == status
    assert PAPER not in answer.text
    assert archived.log("disclosed") == []


# ---- erased ---------------------------------------------------------------------------------------------------------


def test_n3_a_disposal_erases_the_personal_data_for_ever_and_the_case_is_still_proven(archived: Request) -> None:
    said = erase(archived)
    assert "of 2 inputs erased by disposal 销毁-2029-1" in said, said
    page = archived.office.person("reviewer").get(archived.page).text
    assert "Erased by the disposal 销毁-2029-1" in page
    assert "110****" not in page
    assert "Show personal data in full" not in page
    printed = text_of(archived.office.person("archivist").get(f"{archived.page}/documents/application.pdf").data)
    assert "已销毁" in printed
    with archived.office.database.reading() as session:
        found = replay.verify(session, archived.id)
    assert found.findings == []
    assert found.erasure is not None
    assert found.erasure.disposal == "销毁-2029-1"
    key = archived.office.person("auditor").api("GET", f"/instances/{archived.id}").body["data"]["archive"]["key"]
    assert verify_bag(archived.office.folder / "store" / "primary" / key) == []
    proof = archived.office.person("auditor").get(f"/audit/cases/{archived.id}?verify=1").text
    assert 'data-verified="good"' in proof
    assert "The personal data of 2 inputs was erased by the disposal 销毁-2029-1." in proof
    (event,) = archived.log("erased")
    assert event.actor == "archivist"
    assert orjson.loads(event.details)["approved_by"] == "member1"


@pytest.mark.parametrize(
    ("second", "password", "said"),
    [
        ("archivist", PASSWORD, "two persons"),
        ("reviewer", PASSWORD, "may not order a disposal"),
        ("member1", "guess", "password"),
    ],
)
def test_n3_nobody_erases_alone(archived: Request, second: str, password: str, said: str) -> None:
    assert said in erase(archived, second=second, password=password)
    assert archived.log("erased") == []
    assert archived.data["application"]["id_number"] == PAPER


def test_n3_a_case_under_way_is_not_erased(at: Arrive) -> None:
    request = at("sign_application")
    assert "has not ended" in erase(request)
    assert request.data["application"]["phone"] == "+8613800000001"
    assert refusals(request.office.person("head").get(f"/tasks/{request.task('sign_application').id}")) == []
