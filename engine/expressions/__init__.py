"""The one language of scripts, conditions, parameters, timers and decision tables; see docs/expressions.md.

It looks like Python and is walked as a whitelisted syntax tree: nothing is ever handed to Python's own eval, exec or
compile. Values are plain JSON. What a step may cost is bounded (`values.Budget`), and the same text with the same
names at the same instant always gives the same value, because histories are re-executed.
"""

from collections.abc import Mapping
from typing import Any

from engine.errors import ExpressionError
from engine.expressions.script import Script
from engine.expressions.syntax import Mode, check, parse
from engine.expressions.times import at
from engine.expressions.walker import Walker

__all__ = ["ExpressionError", "at", "check", "evaluate", "execute"]


def evaluate(expression: str, names: Mapping[str, Any]) -> Any:
    """The value of `expression`, as a fresh JSON value that shares nothing with `names`.

    `now()` inside is the instant set with `at(instant)`; without one it is refused.

    Raises:
        ExpressionError: the text is not in the language, a name is missing, the types do not fit, or the budget is
            spent. `params` carry `line` and `column` (from 1).
    """
    parsed = parse(expression, Mode.EVAL)
    return Walker(parsed, names).value()


def execute(script: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Run the assignments of `script`; the names it changed, with their new JSON values. `names` stays untouched.

    Loop variables and names that begin with an underscore stay inside the script.

    Raises:
        ExpressionError: as for `evaluate`. Nothing of a script that failed half-way is returned.
    """
    parsed = parse(script, Mode.EXEC)
    return Script(parsed, names).run()
