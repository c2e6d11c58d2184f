"""`make bench`: one JSON line per figure, peers and limits in the same run; `python -m tests.bench NAME` runs some."""

import importlib
import json
import platform
import sys
from pathlib import Path

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))


def main() -> None:
    wanted = [f"bench_{name.removeprefix('bench_')}" for name in sys.argv[1:]] or NAMES
    print(json.dumps({"machine": platform.platform(), "python": platform.python_version()}), flush=True)
    for name in wanted:
        for figure in importlib.import_module(f"tests.bench.{name}").run():
            print(json.dumps(figure, ensure_ascii=False), flush=True)


main()
