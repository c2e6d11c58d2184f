"""The diagrams that bench_engine.py and its peer run, and what people enter into their user tasks."""

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

FORMS: dict[str, dict[str, dict[str, Any]]] = {
    "footage13": {
        "fill": {"camera": "cam-07", "reason": "x" * 40},
        "approve": {"approved": True},
        "receipt": {"received": True},
    },
    "scripts6": {},
    "loop": {"again": {"more": True}},
}
"""Model → user task → what is entered. footage13 asks three people and scripts6 nobody; loop never ends by itself."""


def text(model: str) -> str:
    return (HERE / f"{model}.bpmn").read_text()
