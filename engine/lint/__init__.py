"""What is refused at deployment, and why: everything the kernel would drop, misread or fail on at run time.

`lint` looks at all files of one deployment together; `read_xml` is the only way XML comes into the engine. Every
problem names file, line, element and rule; tests/unit/lint has a file for each rule, named for its defect.
"""

from collections.abc import Collection, Mapping

from engine.errors import Problem
from engine.lint.deployment import Deployment
from engine.lint.xml import read_xml

__all__ = ["lint", "read_xml"]


def lint(
    files: Mapping[str, str | bytes],
    *,
    known_processes: Collection[str] = (),
    groups: Collection[str] | None = None,
) -> list[Problem]:
    """All problems of the files of one deployment (name to content), errors and warnings, by file and line.

    `known_processes` may be called although no file defines them. `groups` are the candidate groups that exist; without
    any, groups are not checked. Operators are checked against those registered in this process.
    """
    return Deployment(files, frozenset(known_processes), frozenset(groups or ())).problems()
