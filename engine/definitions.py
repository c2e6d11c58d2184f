"""Deployed process definitions: linted, versioned, immutable; running instances stay on their version (clause F3)."""

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from lxml import etree
from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from engine import clock, starts
from engine.errors import N_, ConflictError, DefinitionError, NotFoundError, Problem, Sentence
from engine.forms import Form
from engine.forms import parse as parse_form
from engine.lint import lint, read_xml
from engine.models import DeployedFile, Deployment, Membership, ProcessDefinition
from engine.spiff import CompiledDefinition, compile_definition

BPMN = "{http://www.omg.org/spec/BPMN/20100524/MODEL}"
SUFFIXES = (".bpmn", ".dmn", ".form", ".json")

_NEW = "definitions deployed in this transaction"


# ---- deploying ------------------------------------------------------------------------------------------------------


def read_folder(path: Path) -> dict[str, str]:
    """The files of a folder that belong to a deployment, by their name below it (`forms/application.form`).

    Raises:
        DefinitionError: a file is not UTF-8 text.
    """
    found = {}
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if not file.is_file() or file.suffix not in SUFFIXES or any(part.startswith(".") for part in Path(name).parts):
            continue
        found[name] = file.read_bytes()
    return decoded(found)


def decoded(files: Mapping[str, bytes]) -> dict[str, str]:
    """Posted files as text. Raises DefinitionError naming every file that is not UTF-8."""
    found, problems = {}, []
    for name, content in files.items():
        try:
            found[name] = content.decode("utf-8")
        except UnicodeDecodeError as error:
            told = Sentence(N_("the file is not UTF-8 text: %(reason)s"), {"reason": error.reason})
            problems.append(Problem(name, 1, "", "encoding", told))
    if problems:
        raise DefinitionError(problems)
    return found


def deploy(session: Session, files: Mapping[str, str], *, by: str, note: str = "") -> list[ProcessDefinition]:
    """Check `files` together with the current ones that they do not replace, and give changed processes a new version.

    Answers the new versions; none when nothing has changed. Warnings of the lint do not stop a deployment.

    Raises:
        DefinitionError: the lint or the compiler found an error; nothing is deployed.
        ConflictError: a process is defined in two files.
    """
    every = {**current_files(session), **files}
    groups = set(session.scalars(select(Membership.group).distinct()))
    problems = [problem for problem in lint(every, groups=groups) if problem.severity == "error"]
    if problems:
        raise DefinitionError(problems)
    current = {definition.process_id: definition for definition in latest_versions(session)}
    changed, executable = [], {}
    for process_id, (file, name) in sorted(processes(every).items()):
        digest = digest_of(every, file)
        before = current.get(process_id)
        if before is None or before.digest != digest:
            executable[process_id] = compile_files(every, process_id)
            version = before.version + 1 if before else 1
            changed.append(
                ProcessDefinition(process_id=process_id, version=version, name=name, file=file, digest=digest)
            )
    if not changed:
        return []
    deployment = Deployment(deployed_at=clock.now(), deployed_by=by, note=note)
    deployment.files = [
        DeployedFile(name=name, content=text, digest=text_digest(text)) for name, text in sorted(every.items())
    ]
    for definition in changed:
        definition.deployment = deployment
    session.add_all(changed)
    session.flush()
    session.info.setdefault(_NEW, set()).update(definition.id for definition in changed)
    for definition in changed:
        starts.register(session, definition, executable[definition.process_id], deployment.deployed_at)
    return changed


def current_files(session: Session) -> dict[str, str]:
    """The files of the newest deployment: name -> text."""
    newest = session.scalar(select(func.max(Deployment.id)))
    return {} if newest is None else _deployed(session, newest)


def _deployed(session: Session, deployment_id: int) -> dict[str, str]:
    query = select(DeployedFile.name, DeployedFile.content).where(DeployedFile.deployment_id == deployment_id)
    return {row[0]: row[1] for row in session.execute(query.order_by(DeployedFile.name))}


def _executable(files: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in files.items() if name.endswith((".bpmn", ".dmn"))}


def compile_files(texts: Mapping[str, str], process_id: str) -> CompiledDefinition:
    """Compile a process of exactly these texts; once as long as they are the same. Raises DefinitionError."""
    return _compile(tuple(sorted(_executable(texts).items())), process_id)


@lru_cache(maxsize=32)
def _compile(texts: tuple[tuple[str, str], ...], process_id: str) -> CompiledDefinition:
    return compile_definition(dict(texts), process_id)


def processes(files: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The processes in these files: id -> (file, name). Raises ConflictError when one is defined twice."""
    found: dict[str, tuple[str, str]] = {}
    for file, text in files.items():
        if not file.endswith(".bpmn"):
            continue
        for process in read_xml(text).iter(f"{BPMN}process"):
            process_id = process.get("id", "")
            if process_id in found:
                raise ConflictError(
                    N_("The process %(process)s is defined in %(first)s and in %(second)s."),
                    process=process_id,
                    first=found[process_id][0],
                    second=file,
                )
            found[process_id] = (file, process.get("name") or process_id)
    return found


def _needed(files: Mapping[str, str], file: str) -> set[str]:
    """`file` and all files that it leads to: called processes, decision tables, forms, and every translation."""
    homes = _homes(files)
    needed, waiting = {name for name in files if name.startswith("translations/")}, [file]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if name.endswith((".bpmn", ".dmn")):
            waiting.extend(homes[key] for key in _mentions(read_xml(files[name])) if key in homes)
    return needed


def _homes(files: Mapping[str, str]) -> dict[str, str]:
    """Where what a diagram may mention is defined: process ids, decision ids, names of forms."""
    homes = {process_id: file for process_id, (file, _name) in processes(files).items()}
    for name, text in files.items():
        if name.endswith(".dmn"):
            homes.update((key, name) for element in read_xml(text).iter() if (key := element.get("id")))
        elif name.endswith(".form"):
            homes[name] = homes[Path(name).name] = name
    return homes


def _mentions(root: etree._Element) -> set[str]:
    """The processes that a diagram calls, the decisions that it asks for and the forms that it shows."""
    found: set[str] = set()
    for element in root.iter(etree.Element):
        found.add(str(element.get("calledElement", "")).strip())
        if etree.QName(element).localname == "calledDecisionId":
            found.add((element.text or "").strip())
        found.update(value for value in map(str, element.attrib.values()) if value.endswith(".form"))
    return found


def text_digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def digest_of(files: Mapping[str, str], file: str) -> str:
    """The digest of the process in `file`: of all that its execution depends on."""
    return _digest_of(tuple(sorted(files.items())), file)


@lru_cache(maxsize=32)
def _digest_of(texts: tuple[tuple[str, str], ...], file: str) -> str:
    files = dict(texts)
    return _digest(files, _needed(files, file))


def _digest(files: Mapping[str, str], names: Iterable[str]) -> str:
    return text_digest("".join(f"{text_digest(files[name])} {name}\n" for name in sorted(names)))


# ---- reading --------------------------------------------------------------------------------------------------------


def latest_versions(session: Session) -> list[ProcessDefinition]:
    """The newest version of every process, by process id."""
    newest = (
        select(ProcessDefinition.process_id, func.max(ProcessDefinition.version).label("version"))
        .group_by(ProcessDefinition.process_id)
        .subquery()
    )
    query = select(ProcessDefinition).join(
        newest,
        (ProcessDefinition.process_id == newest.c.process_id) & (ProcessDefinition.version == newest.c.version),
    )
    return list(session.scalars(query.order_by(ProcessDefinition.process_id)))


def latest(session: Session, process_id: str) -> ProcessDefinition:
    """The newest version of a process. Raises NotFoundError."""
    return get(session, process_id)


def versions(session: Session, process_id: str) -> list[ProcessDefinition]:
    """All versions of a process, newest first."""
    query = select(ProcessDefinition).where(ProcessDefinition.process_id == process_id)
    return list(session.scalars(query.order_by(ProcessDefinition.version.desc())))


def get(session: Session, process_id: str, version: int | None = None) -> ProcessDefinition:
    """A version of a process; the newest without `version`. Raises NotFoundError."""
    query = _NEWEST if version is None else _NEWEST.where(ProcessDefinition.version == version)
    found = session.scalars(query, {"process": process_id}).one_or_none()
    if found is None:
        raise NotFoundError(N_("There is no process %(process)s of that version."), process=process_id[:100])
    return found


_NEWEST = (
    select(ProcessDefinition)
    .where(ProcessDefinition.process_id == bindparam("process"))
    .order_by(ProcessDefinition.version.desc())
    .limit(1)
)


def by_id(session: Session, definition_id: int) -> ProcessDefinition:
    """Raises NotFoundError."""
    found = session.get(ProcessDefinition, definition_id)
    if found is None:
        raise NotFoundError(N_("There is no process %(process)s of that version."), process=str(definition_id))
    return found


def files(session: Session, definition_id: int) -> dict[str, str]:
    """All files of the deployment that brought this version: name -> text. Raises NotFoundError."""
    return _deployed(session, by_id(session, definition_id).deployment_id)


def altered_files(session: Session, definition_id: int) -> list[str]:
    """The files of this version whose stored text is not what was deployed; a form of tampering `verify` looks for."""
    definition = by_id(session, definition_id)
    query = select(DeployedFile).where(DeployedFile.deployment_id == definition.deployment_id)
    stored = {file.name: file for file in session.scalars(query.order_by(DeployedFile.name))}
    altered = [name for name, file in stored.items() if text_digest(file.content) != file.digest]
    if not altered:
        texts = {name: file.content for name, file in stored.items()}
        if digest_of(texts, definition.file) != definition.digest:
            altered = [definition.file]
    return altered


class Loaded:
    """What a version looks like in memory. Immutable once built, shared by all threads."""

    def __init__(self, definition: ProcessDefinition, texts: dict[str, str]) -> None:
        self.process_id = definition.process_id
        self.version = definition.version
        self.name = definition.name
        self.digest = definition.digest
        self.texts = texts
        self.compiled: CompiledDefinition = compile_files(texts, definition.process_id)
        self.forms: dict[str, Form] = {}
        self.translations: dict[str, dict[str, str]] = {}
        self.personal: dict[str, frozenset[str]] | None = None


_LOADED: WeakKeyDictionary[Engine, dict[int, Loaded]] = WeakKeyDictionary()
_SAME: dict[tuple[str, str], Loaded] = {}
_LOCK = threading.Lock()


def loaded(session: Session, definition_id: int) -> Loaded:
    """The version, compiled; without a query once it is known. Raises NotFoundError."""
    engine = session.get_bind()
    assert isinstance(engine, Engine)
    known = _LOADED.setdefault(engine, {})
    if definition_id in known:
        return known[definition_id]
    definition = by_id(session, definition_id)
    texts = _deployed(session, definition.deployment_id)
    same = (definition.process_id, _digest(texts, texts))
    with _LOCK:  # compiled once, although the readers and the writer have a connection pool each
        found = _SAME.get(same)
        if found is None or found.version != definition.version or found.digest != definition.digest:
            found = _SAME[same] = Loaded(definition, texts)
            while len(_SAME) > 100:
                del _SAME[next(iter(_SAME))]
    if definition_id not in session.info.get(_NEW, ()):  # a rolled-back deployment gives its id to another
        known[definition_id] = found
    return found


def compiled(session: Session, definition_id: int) -> CompiledDefinition:
    """The executable form of a version, cached for the life of the process. Raises NotFoundError."""
    return loaded(session, definition_id).compiled


def form(session: Session, definition_id: int, name: str) -> Form:
    """A form of a version, by the name that diagrams use: with or without its folder. Raises NotFoundError."""
    version = loaded(session, definition_id)
    if name not in version.forms:
        file = next((file for file in (name, f"forms/{name}") if file in version.texts), None)
        if file is None:
            raise NotFoundError(N_("There is no form %(form)s."), form=name)
        version.forms[name] = parse_form(version.texts[file], file)
    return version.forms[name]


def personal_fields(session: Session, definition_id: int) -> Mapping[str, frozenset[str]]:
    """Where this version keeps personal data: variable ("" when a form has none) -> keys. Raises NotFoundError."""
    version = loaded(session, definition_id)
    if version.personal is None:
        found: dict[str, frozenset[str]] = {}
        for element in version.compiled.elements.values():
            if element.form:
                fields = form(session, definition_id, element.form).inputs
                keys = frozenset(field.key for field in fields if field.personal)
                if keys:
                    found[element.variable] = found.get(element.variable, frozenset()) | keys
        version.personal = found
    return version.personal


def translation(session: Session, definition_id: int, lang: str) -> dict[str, str]:
    """The catalogue of diagram and form labels in another language; empty when the version has none."""
    version = loaded(session, definition_id)
    if lang not in version.translations:
        text = version.texts.get(f"translations/{lang}.json") if re.fullmatch(r"[A-Za-z_-]{2,12}", lang) else None
        content: Any = json.loads(text) if text else {}
        version.translations[lang] = {str(key): str(value) for key, value in content.items()}
    return version.translations[lang]
