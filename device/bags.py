"""BagIt bags (RFC 8493, version 1.0): written here in a fixed order, validated with bagit-python.

bagit's own `make_bag` changes the working directory of the whole process, which threads must not do, and dates the bag
by the day of its making; a bag that is made again after a crash has to be the same.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import bagit
import orjson

from device.storage import (
    Store,
    StoreError,
    Watch,
    copy_hashing,
    hash_bytes,
    hash_file,
    make_folder,
    sync_file,
    sync_folder,
    translated,
)
from engine.errors import N_
from engine.history import GENESIS, chain_digest

Content = bytes | Path

TAG_MANIFEST = "tagmanifest-sha256.txt"
ORIGINAL = "original-%d"
"""Of a case that was restarted: the first, second, … instance before the one that is archived."""
_DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_CHAIN_FIELDS = {
    "process": ("at", "kind", "actor", "payload", "lookups", "derived"),
    "custody": ("at", "kind", "actor", "item", "origin", "details"),
}

README = """调取案件归档包 / Archive bag of a footage retrieval case
================================================================

核对（任何一台带有 sha256sum 的计算机）/ To check it on any machine with sha256sum:

    sha256sum -c tagmanifest-sha256.txt
    sha256sum -c manifest-sha256.txt

没有输出“FAILED”即完整无损。Nothing has changed when no line says FAILED.

data/footage/    录像母件（未重新编码） the masters: the recorder's own stream, never re-encoded
data/native/     录像机导出的原始文件 the files as the recorder or folder handed them out, in a folder per master
data/viewing/    可在浏览器播放的查看件 viewing copies for any browser; each names its master in items.json
data/forms/      申请表、记录表（PDF）及其数据 both forms as PDF and as data; signatures with the exact signed text
data/history/    流程历史与案件日志（JSONL，哈希链） process history and custody log, hash-chained JSON lines
                 案件曾从某一步重新开始的，original-1.jsonl 起为此前的历史；of a case that was begun again at a step,
                 original-1.jsonl and so on are what came before
data/diagram/    当时生效的流程图、决策表和表单 the diagram, decision tables and forms that were in force
data/reports/    调取报告与完整性检查结论 acquisition reports and integrity verdicts
"""


class BagError(StoreError):
    """A bag is not valid."""


@dataclass(frozen=True)
class Bag:
    """A finished bag. `digest` is the SHA-256 of its tag manifest, which covers everything else."""

    folder: Path
    digest: str
    files: int
    octets: int


def write_bag(
    folder: Path, payload: Mapping[str, Content], info: Sequence[tuple[str, str]], watch: Watch | None = None
) -> Bag:
    """Write a bag into `folder`, which must not exist; it appears there complete and validated, or not at all.

    `payload` maps paths below data/ to their content; files are linked where that is possible. The bytes of the bag
    depend on `payload` and `info` alone.

    Raises:
        BagError, DiskFullError, StoreError
    """
    building = folder.with_name(f".{folder.name}.building")
    with translated(str(folder)):
        if building.exists():
            shutil.rmtree(building)  # of an attempt that was killed
        make_folder(building)
        octets = 0
        lines = []
        for path in sorted(payload):
            digest, size = _place(building / "data" / _safe(path), payload[path], watch)
            octets += size
            lines.append(f"{digest.removeprefix('sha256:')}  data/{path}\n")
        facts = [*info, ("Payload-Oxum", f"{octets}.{len(payload)}")]
        tags = {
            "README.txt": README.encode(),
            "bag-info.txt": "".join(f"{name}: {_one_line(value)}\n" for name, value in facts).encode(),
            "bagit.txt": _DECLARATION,
            "manifest-sha256.txt": "".join(lines).encode(),
        }
        tags[TAG_MANIFEST] = "".join(
            f"{hash_bytes(content).removeprefix('sha256:')}  {name}\n" for name, content in tags.items()
        ).encode()
        for name, content in tags.items():
            _place(building / name, content, None)
        for parent, _folders, _files in os.walk(building):
            sync_folder(Path(parent))
        validate(building)
        building.rename(folder)
        sync_folder(folder.parent)
    return read_bag(folder)


def read_bag(folder: Path) -> Bag:
    """A bag that lies complete in `folder`. Raises BagError when it does not."""
    manifest, tag_manifest = folder / "manifest-sha256.txt", folder / TAG_MANIFEST
    if not manifest.is_file() or not tag_manifest.is_file():
        raise BagError(N_("%(path)s is no complete bag."), path=str(folder))
    paths = [line.split("  ", 1)[1] for line in manifest.read_text().splitlines()]
    octets = sum((folder / path).stat().st_size for path in paths)
    return Bag(folder, hash_file(tag_manifest), len(paths), octets)


def validate(folder: Path) -> None:
    """Read everything and compare. Raises BagError naming what is wrong."""
    try:
        bagit.Bag(str(folder)).validate()
    except (bagit.BagError, OSError, UnicodeDecodeError, ValueError) as error:
        raise BagError(N_("%(path)s is not valid: %(reason)s"), path=str(folder), reason=str(error)) from error


def put_bag(bag: Bag, store: Store, key: str, watch: Watch | None = None) -> None:
    """Copy a bag to a store file by file, the tag manifest last; each file is read back. It may be repeated.

    Raises:
        AlreadyStoredError: another bag, or part of one, lies there. DiskFullError, StoreError.
    """
    paths = [path.relative_to(bag.folder).as_posix() for path in bag.folder.rglob("*") if path.is_file()]
    for path in sorted(paths, key=lambda path: (path == TAG_MANIFEST, path)):
        store.put(f"{key}/{path}", bag.folder / path, hash_file(bag.folder / path), watch)


def verify_bag(folder: Path) -> list[str]:
    """Everything wrong with a bag, without a database: its manifests, and the hash chains of the histories in it."""
    try:
        validate(folder)
    except BagError as error:
        return [str(error)]
    problems = []
    history = folder / "data" / "history"
    try:
        found = chains(orjson.loads((history / "heads.json").read_bytes()))
        begun: list[dict[str, Any]] = []
        for chain in found:
            lines = (history / f"{chain.name}.jsonl").read_bytes().splitlines()
            events = [orjson.loads(line) for line in lines]
            problems += _chain_problems(chain, events)
            begun += [orjson.loads(events[0]["payload"])] if chain.kind == "process" else []
        for original, start in zip(found, begun[1:], strict=False):
            if start["restart"]["instance"] != str(original.instance):
                problems.append(f"data/history/{original.name}.jsonl: what comes after it does not begin again there")
    except (OSError, LookupError, TypeError, ValueError) as error:
        problems.append(f"data/history: not readable: {error}")
    return problems


@dataclass(frozen=True)
class Chain:
    """A hash chain in `data/history/<name>.jsonl`. `kind` is process or custody; it ends with the digest `head`."""

    name: str
    kind: str
    instance: UUID
    head: str


def chains(heads: Mapping[str, Any]) -> list[Chain]:
    """Those that a bag's `heads.json` names: the originals, what was archived, the log of the case.

    Raises:
        LookupError, TypeError, ValueError: it is none.
    """
    originals = [
        Chain(ORIGINAL % number, "process", UUID(each["instance"]), each["process"])
        for number, each in enumerate(heads.get("originals", ()), 1)
    ]
    instance = UUID(heads["instance"])
    custody = UUID(heads.get("custody_instance", heads["instance"]))
    return [
        *originals,
        Chain("process", "process", instance, heads["process"]),
        Chain("custody", "custody", custody, heads["custody"]),
    ]


def _chain_problems(chain: Chain, events: list[dict[str, Any]]) -> list[str]:
    previous = GENESIS
    for expected, event in enumerate(events, 1):
        parts = [event[field].encode() for field in _CHAIN_FIELDS[chain.kind]]
        digest = chain_digest(chain.instance, expected, parts, previous)
        if event["seq"] != expected or event["digest"] != digest:
            return [f"data/history/{chain.name}.jsonl: event {expected} does not follow from the one before it"]
        previous = digest
    whole = previous == chain.head
    return [] if whole else [f"data/history/{chain.name}.jsonl: it does not end with the head in heads.json"]


def _safe(path: str) -> PurePosixPath:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or any(char in path for char in "\r\n%\\"):
        raise BagError(N_("%(path)s cannot be a file of a bag."), path=path)
    return pure


def _place(target: Path, content: Content, watch: Watch | None) -> tuple[str, int]:
    """Put content into the bag on the medium; the digest is of what lies there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        with target.open("wb") as file:
            file.write(content)
            sync_file(file)
        return hash_bytes(content), len(content)
    try:
        os.link(content, target)
    except OSError:  # another file system, or one without hard links
        return copy_hashing(content, target, watch), target.stat().st_size
    return hash_file(target, watch), target.stat().st_size


def _one_line(value: str) -> str:
    return " ".join(value.split())
