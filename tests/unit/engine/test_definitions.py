"""Deploying: linted first, versioned by what a process needs, carried over, cached but never wrongly."""

import pytest
from process_files import FILES, FORM, flows, process, user

from engine import definitions, instances, live, replay
from engine.errors import ConflictError, DefinitionError, NotFoundError
from engine.models import ProcessDefinition


def deploy(database, files):
    with database.transaction() as session:
        return {found.process_id: found.version for found in definitions.deploy(session, files, by="owner", note="why")}


def versions(database, process_id):
    with database.reading() as session:
        return [found.version for found in definitions.versions(session, process_id)]


SMALL = {"review.bpmn": FILES["review.bpmn"], "forms/decision.form": FORM, "waiting.bpmn": FILES["waiting.bpmn"]}


def test_a_first_deployment_gives_every_process_its_first_version(database, clock):
    assert deploy(database, SMALL) == {"review": 1, "waiting": 1}


def test_deploying_the_same_again_changes_nothing(database, clock):
    deploy(database, SMALL)
    assert deploy(database, SMALL) == {}
    assert versions(database, "review") == [1]


def test_only_the_changed_process_gets_a_new_version(database, clock):
    deploy(database, SMALL)
    changed = SMALL["waiting.bpmn"].replace("任务 decide", "任务 think")
    assert deploy(database, {"waiting.bpmn": changed}) == {"waiting": 2}
    assert versions(database, "review") == [1]


def test_a_changed_form_is_a_new_version_of_the_process_that_uses_it(database, clock):
    deploy(database, SMALL)
    assert deploy(database, {"forms/decision.form": FORM.replace("意见", "说明")}) == {"review": 2}
    with database.reading() as session:
        labels = [
            definitions.form(session, definitions.get(session, "review", version).id, "decision.form").inputs[1].label
            for version in (1, 2)
        ]
    assert labels == ["意见", "说明"]


def test_files_that_a_deployment_does_not_replace_are_carried_over(database, clock):
    deploy(database, SMALL)
    deploy(database, {"waiting.bpmn": SMALL["waiting.bpmn"].replace("任务 decide", "任务 think")})
    with database.reading() as session:
        assert set(definitions.files(session, definitions.latest(session, "waiting").id)) == set(SMALL)


def test_a_file_that_cannot_be_executed_deploys_nothing(database, clock):
    broken = SMALL["review.bpmn"].replace('sourceRef="start"', 'sourceRef="nowhere"')
    with pytest.raises(DefinitionError) as refused:
        deploy(database, {**SMALL, "review.bpmn": broken})
    assert all(problem.file and problem.message for problem in refused.value.problems)
    assert versions(database, "review") == versions(database, "waiting") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<definitions",
        "not xml at all",
        '<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd">]><definitions>&e;</definitions>',
        '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><definitions>&b;</definitions>',
    ],
)
def test_broken_and_hostile_files_are_refused_with_their_name(database, clock, text):
    with pytest.raises(DefinitionError) as refused:
        deploy(database, {**SMALL, "evil.bpmn": text})
    assert "evil.bpmn" in {problem.file for problem in refused.value.problems}
    assert versions(database, "review") == []


def test_a_process_in_two_files_is_refused(database, clock):
    with pytest.raises((DefinitionError, ConflictError)):
        deploy(database, {**SMALL, "again.bpmn": SMALL["review.bpmn"]})
    assert versions(database, "review") == []


def test_a_rolled_back_deployment_does_not_stay_in_the_cache(database, clock):
    other = process(
        "other",
        user("only", candidateGroup="reviewer"),
        '<sequenceFlow id="a" sourceRef="start" targetRef="only"/>'
        '<sequenceFlow id="b" sourceRef="only" targetRef="end"/>',
    )
    with database.transaction() as session:
        (gone,) = definitions.deploy(session, {"other.bpmn": other}, by="owner")
        assert "only" in definitions.compiled(session, gone.id).elements
        gone_id = gone.id
        session.rollback()
    deploy(database, {"waiting.bpmn": SMALL["waiting.bpmn"]})
    with database.transaction() as session:
        taken = session.get(ProcessDefinition, gone_id)
        if taken is not None:
            assert "decide" in definitions.compiled(session, gone_id).elements
        found = definitions.latest(session, "waiting")
        assert "decide" in definitions.compiled(session, found.id).elements
        with pytest.raises(NotFoundError):
            definitions.latest(session, "other")


def test_a_translation_belongs_to_its_version(database, clock):
    deploy(database, {**SMALL, "translations/en.json": '{"任务 decide": "Decide"}'})
    with database.reading() as session:
        found = definitions.latest(session, "waiting")
        assert definitions.translation(session, found.id, "en") == {"任务 decide": "Decide"}
        assert definitions.translation(session, found.id, "fr") == {}
        assert definitions.translation(session, found.id, "../secret") == {}


def test_what_does_not_exist_is_not_found(database, clock):
    deploy(database, SMALL)
    with database.reading() as session:
        for ask in (
            lambda: definitions.latest(session, "nothing"),
            lambda: definitions.get(session, "review", 7),
            lambda: definitions.files(session, 999),
            lambda: definitions.compiled(session, 999),
            lambda: definitions.form(session, definitions.latest(session, "review").id, "nothing.form"),
        ):
            with pytest.raises(NotFoundError):
                ask()


def test_a_folder_is_read_with_the_names_below_it(tmp_path):
    (tmp_path / "forms").mkdir()
    (tmp_path / "forms" / "decision.form").write_text(FORM, encoding="utf-8")
    (tmp_path / "review.bpmn").write_text(SMALL["review.bpmn"], encoding="utf-8")
    (tmp_path / "notes.txt").write_text("not deployed")
    (tmp_path / ".hidden.bpmn").write_text("not deployed")
    assert set(definitions.read_folder(tmp_path)) == {"forms/decision.form", "review.bpmn"}


def test_a_file_that_is_not_text_is_refused_by_name(tmp_path):
    (tmp_path / "review.bpmn").write_bytes(b"\xff\xfe")
    with pytest.raises(DefinitionError) as refused:
        definitions.read_folder(tmp_path)
    assert refused.value.problems[0].file == "review.bpmn"


# ---- called processes -----------------------------------------------------------------------------------------------


def called(text: str) -> str:
    """A process that somebody sees `text` in."""
    return process(
        "called",
        user("look", "seen", candidateGroup="reviewer").replace("任务 look", text),
        flows("start", "look", "end"),
    )


CALLING = process(
    "calling",
    user("before", candidateGroup="reviewer"),
    '<callActivity id="call" calledElement="called"/>',
    flows("start", "before", "call", "end"),
)


def test_a_running_instance_calls_the_version_that_was_deployed_with_its_own(office, deployed):
    """Which is what re-execution calls too, long after the called process has changed."""
    assert deploy(deployed, {"calling.bpmn": CALLING, "called.bpmn": called("第一版")}) == {"calling": 1, "called": 1}
    first = office.start("calling")
    changed = called("第二版").replace('id="look"', 'id="look_again"').replace('"look"', '"look_again"')
    assert deploy(deployed, {"called.bpmn": changed}) == {"calling": 2, "called": 2}
    second = office.start("calling")
    for instance in (first, second):
        office.complete("reviewer", office.task(instance, "before"))
    assert (office.task(first, "look").name, office.task(second, "look_again").name) == ("第一版", "第二版")
    live.forget()
    office.complete("reviewer", office.task(first, "look"))
    office.complete("reviewer", office.task(second, "look_again"))
    with deployed.reading() as session:
        for instance, version in ((first, 1), (second, 2)):
            found = instances.get(session, instance.id)
            assert (found.state, definitions.by_id(session, found.definition_id).version) == ("completed", version)
            assert replay.verify(session, instance.id).ok
