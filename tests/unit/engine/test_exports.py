"""Exported histories: exact lines that prove, and logs that process-mining tools read."""

import csv
import io
from uuid import UUID

import orjson
import pytest
from lxml import etree

from engine import exports, history, ledger, seals
from engine.errors import NotFoundError
from engine.models import Instance

XES = f"{{{exports.XES}}}"


@pytest.fixture
def cases(office, worker, recorder):
    """A case with a job that fails as modelled and a repair by hand; and one that waits for a person."""
    recorder.lost = {"lobby"}
    finished = office.start("cameras", cameras=["gate", "lobby"])
    worker()
    office.complete("operator", office.task(finished, "repair"))
    return [finished.id, office.start("look_up").id]


def export(database, kind, wanted):
    with database.reading() as session:
        return b"".join(exports.FORMATS[kind](session, wanted))


def test_json_lines_hold_the_exact_texts_that_were_hashed(deployed, cases):
    lines = [orjson.loads(line) for line in export(deployed, "jsonl", cases[:1]).splitlines()]
    with deployed.reading() as session:
        stored = history.stored_events(session, cases[0])
    assert [line["digest"].encode() for line in lines] == [event.digest for event in stored]
    assert [line["payload"].encode() for line in lines] == [event.payload for event in stored]
    found = ledger.compare(lines, [])
    assert (found.findings, found.events, found.sealed, found.stream) == ([], len(stored), 0, cases[0])


def test_an_exported_history_is_held_by_the_exported_ledger(deployed, cases, settings, office):
    seals.seal(deployed, settings)
    with deployed.reading() as session:
        entries = ledger.read(b"".join(entry.line() for entry in seals.entries(session)))
    lines = [orjson.loads(line) for line in export(deployed, "jsonl", cases[:1]).splitlines()]
    assert ledger.compare(lines, entries).sealed == len(lines)
    lines[1]["actor"] = "somebody"
    assert [finding.seq for finding in ledger.compare(lines, entries).findings] == [2]


def test_histories_of_several_instances_are_not_compared_as_one(deployed, cases):
    lines = [orjson.loads(line) for line in export(deployed, "jsonl", cases).splitlines()]
    with pytest.raises(ledger.LedgerError, match="several instances"):
        ledger.compare(lines, [])
    for wrong in ([], [{}], [{"payload": ""}], [{"instance": "x", "payload": ""}]):
        with pytest.raises(ledger.LedgerError):
            ledger.compare(wrong, [])


def test_csv_has_a_line_for_everything_that_happened_to_an_element(deployed, cases):
    rows = list(csv.DictReader(io.StringIO(export(deployed, "csv", cases).decode(), newline="")))
    assert {row["instance"] for row in rows} == {str(each) for each in cases}
    assert [row["event"] for row in rows if row["instance"] == str(cases[1])] == ["1", "2", "3", "4", "5"]
    repaired = [row for row in rows if row["element"] == "repair"]
    assert [(row["type"], row["actor"], row["label"]) for row in repaired] == [
        ("enter", "office/fetch", "任务 repair"),
        ("leave", "operator", "任务 repair"),
    ]
    assert "take" not in {row["type"] for row in rows}


def test_csv_gives_a_spreadsheet_no_formula(deployed, office):
    office.start("review", applicant="applicant")
    with deployed.transaction() as session:
        instance = session.query(Instance).one()
        instance.business_key = "=HYPERLINK(1)"
    rows = list(csv.DictReader(io.StringIO(export(deployed, "csv", [instance.id]).decode(), newline="")))
    assert {row["business_key"] for row in rows} == {"'=HYPERLINK(1)"}


def test_xes_has_the_structure_of_the_standard(deployed, cases):
    """IEEE 1849-2016, clause 5: order of the parts of a log, declared extensions, globals present everywhere."""
    log = etree.fromstring(export(deployed, "xes", cases))
    assert (log.tag, log.get("xes.version")) == (f"{XES}log", "1849.2016")
    order = {name: place for place, name in enumerate(("extension", "global", "classifier", "string", "trace"))}
    places = [order[etree.QName(child).localname] for child in log]
    assert places == sorted(places)
    assert {node.tag for node in log.iter()} <= {
        f"{XES}{name}"
        for name in ("log", "extension", "global", "classifier", "trace", "event", "string", "date", "int", "id")
    }
    prefixes = {node.get("prefix") for node in log.findall(f"{XES}extension")}
    keys = {node.get("key") for node in log.iter() if node.get("key")}
    assert {key.split(":")[0] for key in keys if ":" in key} == prefixes
    for scope in log.findall(f"{XES}global"):
        for node in log.iter(f"{XES}{scope.get('scope')}"):
            assert {each.get("key") for each in scope} <= {each.get("key") for each in node}
    for node in log.iter(f"{XES}trace", f"{XES}event"):
        names = [child.get("key") for child in node if child.get("key")]
        assert len(names) == len(set(names))
    assert [len(trace.findall(f"{XES}event")) > 3 for trace in log.findall(f"{XES}trace")] == [True, True]


def test_xes_tells_begin_end_and_failure_of_each_activity(deployed, cases):
    log = etree.fromstring(export(deployed, "xes", cases[:1]))
    told = [{node.get("key"): node.get("value") for node in event} for event in log.iter(f"{XES}event")]
    fetched = [event["lifecycle:transition"] for event in told if event["element"] == "fetch"]
    assert sorted(fetched) == ["ate_abort", "complete", "start", "start"]
    assert {event["org:resource"] for event in told if event["element"] == "repair"} == {"office/fetch", "operator"}


def test_xes_carries_no_character_that_xml_forbids(deployed, office):
    instance = office.start("look_up")
    with deployed.transaction() as session:
        session.get_one(Instance, instance.id).business_key = "a\x01\ufffeb"
    log = etree.fromstring(export(deployed, "xes", [instance.id]))
    assert log.find(f"{XES}trace/{XES}string").get("value") == "a\ufffd\ufffdb"


def test_ocel_declares_all_types_and_relates_every_event(deployed, cases):
    """OCEL 2.0, JSON: types and attributes are declared, ids are unique, relationships lead to objects."""
    log = orjson.loads(export(deployed, "ocel", cases))
    assert set(log) == {"objectTypes", "eventTypes", "objects", "events"}
    for many, types in (("objects", "objectTypes"), ("events", "eventTypes")):
        declared = {each["name"]: {attribute["name"] for attribute in each["attributes"]} for each in log[types]}
        assert len(declared) == len(log[types])
        assert len({each["id"] for each in log[many]}) == len(log[many])
        for each in log[many]:
            assert {attribute["name"] for attribute in each["attributes"]} == declared[each["type"]]
    objects = {each["id"]: each["type"] for each in log["objects"]}
    for event in log["events"]:
        assert [objects[each["objectId"]] for each in event["relationships"]] == ["process instance", "actor"]
    assert sum(kind == "process instance" for kind in objects.values()) == 2


@pytest.mark.parametrize("kind", list(exports.FORMATS))
def test_an_unknown_instance_is_refused(deployed, kind):
    with pytest.raises(NotFoundError):
        export(deployed, kind, [UUID(int=1)])
