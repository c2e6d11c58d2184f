"""All files of one deployment, linted together: a diagram names forms, decisions and processes of other files."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine import forms
from engine.errors import N_, DefinitionError, Problem, Sentence
from engine.lint import personal
from engine.lint.activities import check_activities
from engine.lint.decisions import check_decisions
from engine.lint.events import check_events
from engine.lint.language import check_collaboration, check_expressions, check_extensions
from engine.lint.messages import check_correlations, check_messages, check_starts, starts
from engine.lint.report import BPMN, NODES, Report, kind
from engine.lint.standard import check_standard
from engine.lint.structure import LONGEST_NAME, calls, check_identifiers, check_process, decision_of
from engine.lint.xml import Node, read_xml
from engine.spiff import dmn

MAX_FILES = 200
MAX_CATALOGUE = 1_000_000
MAX_ELEMENTS = 20_000
"""Of one diagram. A large procedure has two thousand; what nobody can read, nobody can approve."""
_NAME = re.compile(r"(?:[^\W_][\w .()-]{0,80}/){0,3}[^\W_][\w .()-]{0,80}\.(?:bpmn|dmn|form|json)")
_DMN = re.compile(r"\{https?://www\.omg\.org/spec/DMN/\d{8}/(?:MODEL/|dmn\.xsd)\}definitions")


class Deployment:
    """Reads every file once; `problems` then looks at each with the others in sight."""

    def __init__(
        self, files: Mapping[str, str | bytes], known_processes: frozenset[str], groups: frozenset[str]
    ) -> None:
        self.files = files
        self.known_processes = known_processes
        self.groups = groups
        self.found: list[Problem] = []
        self.diagrams: dict[str, Node] = {}
        self.tables: dict[str, Node] = {}
        self.forms: dict[str, str] = {}
        self.processes: dict[str, str] = {}
        self.calls: dict[str, set[str]] = {}
        self.decisions: dict[str, str] = {}
        self.message_starts: dict[str, tuple[str, str]] = {}
        self.waits_to_start: set[str] = set()

    def problems(self) -> list[Problem]:
        if len(self.files) > MAX_FILES:
            self._add("", "file-count", N_("a deployment has at most %(limit)s files"), limit=MAX_FILES)
            return self.found
        for file in sorted(self.files):
            if not _NAME.fullmatch(file) or len(file) > LONGEST_NAME:
                told = N_("a file name is plain letters and ends in .bpmn, .dmn, .form or .json")
                self._add(file, "file-name", told)
            else:
                self._read(file, self.files[file])
        private = personal.private_fields(self.diagrams.values(), self.files)
        for file, root in self.diagrams.items():
            report = Report(file)
            self._check_diagram(root, report)
            personal.check_diagram(root, private, report)
            self.found += report.problems
        for file, root in self.tables.items():
            self.found += personal.table_problems(file, root, private)
        for file, text in self.forms.items():
            self.found += personal.form_problems(file, text, private)
        return sorted(set(self.found))

    def _add(self, file: str, rule: str, template: str, line: int = 1, element: str = "", **params: Any) -> None:
        self.found.append(Problem(file, line, element, rule, Sentence(template, params)))

    def _read(self, file: str, content: str | bytes) -> None:
        try:
            if file.endswith((".bpmn", ".dmn")):
                root = read_xml(content, file)
                self._read_decisions(file, root) if file.endswith(".dmn") else self._read_diagram(file, root)
                return
        except DefinitionError as error:
            self.found += error.problems
            return
        try:
            text = content if isinstance(content, str) else content.decode("utf-8")
        except UnicodeDecodeError:
            self._add(file, "not-utf8", N_("the file is not UTF-8"))
            return
        if file.endswith(".form"):
            self.forms[file] = text
            self.found += forms.problems(text, file)
        else:
            self._read_catalogue(file, text)

    def _read_diagram(self, file: str, root: Node) -> None:
        if root.tag != BPMN + "definitions":
            self._add(file, "not-bpmn", N_("the document is not BPMN 2.0"), root.sourceline or 1)
            return
        if sum(1 for _ in root.iter()) > MAX_ELEMENTS:
            told = N_("the diagram has more than %(limit)s XML elements: split it")
            self._add(file, "diagram-size", told, limit=MAX_ELEMENTS)
            return
        self.diagrams[file] = root
        for process in root.findall(BPMN + "process"):
            name = process.get("id") or ""
            if name in self.processes and self.processes[name] != file:
                told, other = N_("the process %(name)s is defined in %(other)s too"), self.processes[name]
                self._add(file, "duplicate-process", told, process.sourceline or 1, name, name=name, other=other)
            else:
                self.processes[name] = file
                if (
                    all(event for _node, event, _name in starts(process, {}))
                    and process.find(BPMN + "startEvent") is not None
                ):
                    self.waits_to_start.add(name)
                self.calls[name] = set(calls(process))

    def _read_decisions(self, file: str, root: Node) -> None:
        if not _DMN.fullmatch(root.tag):
            self._add(file, "not-dmn", N_("the document is not DMN 1.2 or later"), root.sourceline or 1)
            return
        self.tables[file] = root
        tables, problems = dmn.parse(root, file)
        problems += check_decisions(root, file)
        self.found += [replace(problem, line=max(1, problem.line)) for problem in problems]
        if not tables and not problems:
            self._add(file, "no-decision-table", N_("the file holds no decision"))
        for name in tables:
            if name in self.decisions:
                told = N_("the decision %(name)s is defined in %(other)s too")
                self._add(file, "duplicate-decision", told, name=name, other=self.decisions[name])
            self.decisions[name] = file

    def _read_catalogue(self, file: str, text: str) -> None:
        if len(text) > MAX_CATALOGUE:
            told = N_("the catalogue is larger than %(limit)s MB")
            self._add(file, "translation", told, limit=MAX_CATALOGUE // 1_000_000)
            return
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 1)
            self._add(file, "translation", N_("not JSON: %(error)s"), line, error=str(error)[:80])
            return
        if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
            self._add(file, "translation", N_('a catalogue is an object of texts: {"中文": "English"}'))

    def _check_diagram(self, root: Node, report: Report) -> None:
        check_identifiers(root, report)
        check_extensions(root, report)
        check_collaboration(root, report)
        ids = {node.get("id"): node for node in root.iter(f"{BPMN}*") if node.get("id")}
        processes = root.findall(BPMN + "process")
        runnable = [process for process in processes if process.get("isExecutable") == "true"]
        if not runnable:  # say what else they lack, all at once
            runnable = processes
            for lacking in processes or [root]:
                report.error(lacking, "not-executable", N_('no process has isExecutable="true"'))
        check_standard(root, runnable, report)
        check_messages(root, ids, report)
        for process in runnable[1:]:
            report.error(process, "several-processes", N_("a file holds one executable process"))
        for process in runnable:
            if not process.get("id"):
                report.error(process, "no-id", N_("the process has no id"))
            check_process(process, report)
            check_events(process, ids, report)
            check_starts(process, ids, report)
            check_correlations(process, root, ids, report)
            self._check_message_starts(process, ids, report)
            check_expressions(process, report)
            check_activities(process, ids, self.files.keys(), self.groups, report)
            self._check_calls(process, report)
            self._check_decisions(process, report)
        _check_layout(root, ids, report)

    def _check_calls(self, process: Node, report: Report) -> None:
        circle = {called for called in self.calls.get(process.get("id") or "", ()) if self._leads_to(called, process)}
        for node in process.iter(BPMN + "callActivity"):
            called = node.get("calledElement") or ""
            if called not in self.processes and called not in self.known_processes:
                told = N_("the called process “%(called)s” is not in the deployment")
                report.error(node, "missing-process", told, called=called)
            elif called in self.waits_to_start:
                told = N_("%(called)s starts by events only: draw a start event without one in it")
                report.error(node, "called-start", told, called=called)
            elif called in circle:
                told = N_("%(called)s leads back to this process: it would never end")
                report.error(node, "recursive-call", told, called=called)

    def _check_message_starts(self, process: Node, ids: Mapping[str, Node], report: Report) -> None:
        """A message has one receiver: two processes that it would start are one too many."""
        for node, event, name in starts(process, ids):
            if event != "message" or not name:
                continue
            other = self.message_starts.setdefault(name, (report.file, process.get("id") or ""))
            if other != (report.file, process.get("id") or ""):
                told = N_("the message %(name)s starts %(other)s in %(file)s already; a signal would start both")
                report.error(node, "double-start", told, name=name, other=other[1], file=other[0])

    def _leads_to(self, called: str, process: Node) -> bool:
        """Whether a process calls another one, directly or not, or is the same."""
        seen: set[str] = set()
        pending = [called]
        while pending:
            name = pending.pop()
            if name not in seen:
                seen.add(name)
                pending += self.calls.get(name, ())
        return process.get("id") in seen

    def _check_decisions(self, process: Node, report: Report) -> None:
        for node in process.iter(BPMN + "businessRuleTask"):
            decision = decision_of(node)
            if not decision:
                report.error(node, "no-decision", N_("a business rule task names its decision"))
            elif decision not in self.decisions:
                told = N_("there is no decision %(decision)s in the deployment")
                report.error(node, "missing-decision", told, decision=decision)


def _check_layout(root: Node, ids: Mapping[str, Node], report: Report) -> None:
    """A diagram that has a picture should have all of it: what has no shape cannot be seen or followed."""
    drawn = {node.get("bpmnElement"): node for node in root.iter("{http://www.omg.org/spec/BPMN/20100524/DI}*")}
    if not drawn:
        return
    for name, node in drawn.items():
        if name and name not in ids:
            report.warning(node, "layout", N_("the picture shows %(name)s, which does not exist"), name=name)
    for process in root.findall(BPMN + "process"):
        for name, node in ids.items():
            if node.get("id") not in drawn and _is_drawable(node) and process in node.iterancestors():
                report.warning(node, "layout", N_("%(name)s has no place in the picture"), name=name)


def _is_drawable(node: Node) -> bool:
    return kind(node) in NODES or kind(node) == "sequenceFlow"
