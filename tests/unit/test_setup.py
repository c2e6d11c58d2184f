"""What starting brings along: the processes of a newer release, and nothing that owners have changed."""

from engine import definitions
from engine.db import Database
from web.setup import PROCEDURE, deploy_procedure


def versions(database: Database) -> dict[str, int]:
    with database.reading() as session:
        return {found.process_id: found.version for found in definitions.latest_versions(session)}


def test_a_process_that_a_newer_release_brings_is_deployed_and_the_others_are_left_alone(database: Database) -> None:
    files = definitions.read_folder(PROCEDURE)
    before = {name: text for name, text in files.items() if name != "footage_derivation.bpmn"}
    changed = {**before, "footage_retrieval.bpmn": before["footage_retrieval.bpmn"].replace("回放检查", "逐段回放检查")}
    with database.transaction() as session:
        definitions.deploy(session, before, by="owner")
        definitions.deploy(session, changed, by="owner")
    deploy_procedure(database, by="system", note="first")
    after = versions(database)
    assert after["footage_derivation"] == 1
    assert after["footage_retrieval"] == 2
    with database.reading() as session:
        assert "逐段回放检查" in definitions.current_files(session)["footage_retrieval.bpmn"]
    deploy_procedure(database, by="system", note="again")
    assert versions(database) == after


def test_on_a_fresh_machine_everything_is_deployed(database: Database) -> None:
    deploy_procedure(database, by="system", note="first")
    with database.reading() as session:
        assert definitions.current_files(session) == definitions.read_folder(PROCEDURE)
