"""Which regular expressions a form may hold."""

import re
from typing import Any

from engine.errors import N_, Sentence


def pattern_problem(value: Any) -> Sentence | None:
    """Why a pattern is refused: what employees type is matched with it, so it must not be able to run for hours."""
    if not isinstance(value, str) or len(value) > 200:
        return Sentence(N_("a pattern is a text of at most 200 characters"))
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        return Sentence(N_("the pattern is not a regular expression: %(error)s"), {"error": str(error)})
    bare = re.sub(r"\\.", "x", re.sub(r"\[\^?\]?(?:\\.|[^\]\\])*\]", "x", value))
    bare = re.sub(r"\(\?(?:[:=!]|<[=!])", "(", bare)
    if re.search(r"\\[1-9]", value) or "(?" in bare:
        return Sentence(N_("the pattern uses a back reference or an extension that is not allowed here"))
    if re.search(r"\([^()]*[*+?|{][^()]*\)[*+{]", bare) or re.search(r"\)\)+[*+{]", bare):
        return Sentence(N_("the pattern repeats a group that itself repeats or branches: it could run for hours"))
    if len(re.findall(r"[*+]|\{\d*,\d*\}", bare)) > 3 or bare.count("?") > 8:
        return Sentence(N_("the pattern has more than three repetitions: it could run for hours"))
    return None
