"""The control address of the simulated recorder, `/control/faults`: GET shows the faults at work, PUT replaces them.

JSON both ways, as `Faults.to_json`; what a PUT leaves out is sound again. Only on loopback, like all of the simulator.
"""

import json

from device.simulator.faults import Faults, UnknownFaultError
from device.simulator.recorder import SimulatedRecorder

PATH = "/control/faults"


def answer(recorder: SimulatedRecorder, method: str, body: bytes) -> tuple[int, bytes]:
    """HTTP status and JSON."""
    if method not in ("GET", "PUT"):
        return 405, b""
    if method == "PUT":
        try:
            given = json.loads(body)
            if not isinstance(given, dict):
                raise UnknownFaultError("the faults are a JSON object")
            recorder.suffer(Faults.from_json(given))
        except (ValueError, RecursionError, UnknownFaultError) as error:
            return 400, json.dumps({"error": str(error)}).encode()
    return 200, json.dumps(recorder.faults.to_json()).encode()
