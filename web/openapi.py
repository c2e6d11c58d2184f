"""The OpenAPI 3.1 document of the REST API, built from one table: method, path, what it does, what goes in and out."""

from typing import Any

STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}
OBJECT: dict[str, Any] = {"type": "object"}
TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
ID: dict[str, Any] = {"type": "string", "format": "uuid"}


def thing(required: str = "", **properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split()}


def many(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


SCHEMAS: dict[str, Any] = {
    "Problem": thing("title status detail", type=STRING, title=STRING, status=INTEGER, detail=STRING)
    | {"description": "RFC 9457; a refused form adds `fields`, a refused deployment adds `problems`."},
    "Finding": thing(
        "file line element rule message", file=STRING, line=INTEGER, element=STRING, rule=STRING, message=STRING
    ),
    "Definition": thing("process_id version", process_id=STRING, version=INTEGER, name=STRING, digest=STRING),
    "Instance": thing(
        "id process_id version state data",
        id=ID,
        process_id=STRING,
        version=INTEGER,
        business_key=STRING,
        state={"type": "string", "enum": ["running", "suspended", "completed", "cancelled"]},
        started_by=STRING,
        started_at=TIME,
        ended_at={"type": ["string", "null"], "format": "date-time"},
        seq=INTEGER,
        head=STRING,
        data=OBJECT,
    ),
    "Task": thing(
        "id instance_id element name state",
        id=ID,
        instance_id=ID,
        element=STRING,
        name=STRING,
        lane=STRING,
        form=STRING,
        state={"type": "string", "enum": ["open", "claimed", "completed", "cancelled"]},
        assignee={"type": ["string", "null"]},
        owner={"type": ["string", "null"]},
        claimed_by={"type": ["string", "null"]},
        candidate_group=STRING,
        signature={"type": "boolean"},
        priority=INTEGER,
        due_at={"type": ["string", "null"], "format": "date-time"},
        remind_at={"type": ["string", "null"], "format": "date-time"},
    ),
    "State": thing(
        "id process_id version state started_at seq",
        id=ID,
        process_id=STRING,
        version=INTEGER,
        business_key=STRING,
        state={"type": "string", "enum": ["running", "suspended", "completed", "cancelled"]},
        started_by=STRING,
        started_at=TIME,
        ended_at={"type": ["string", "null"], "format": "date-time"},
        seq=INTEGER,
        head=STRING,
        restarted_from={"type": ["string", "null"], "format": "uuid"},
        elements=many(STRING),
        incidents=INTEGER,
    )
    | {"description": "An instance without its data; lists add `elements` where it stands and its `incidents`."},
    "Preview": thing(
        "state active opens runs fails data",
        state=STRING,
        active=OBJECT,
        opens=many(STRING),
        runs=many(STRING),
        fails=OBJECT,
        data=OBJECT,
    )
    | {"description": "`active`: how many tokens would stand at each element; `fails`: what would be an incident."},
    "Verdict": thing(
        "from to possible refused warnings active",
        **{"from": INTEGER},
        to=INTEGER,
        possible={"type": "boolean"},
        refused=many(thing("code element message", code=STRING, element=STRING, message=STRING)),
        warnings=many(thing("code element message", code=STRING, element=STRING, message=STRING)),
        active=many(STRING),
    )
    | {"description": "Why an instance cannot go over to a version, what to know before it does, where it stands."},
    "Outcome": thing(
        "id business_key migrated refusal verdict",
        id=STRING,
        business_key=STRING,
        migrated={"type": "boolean"},
        refusal=STRING,
        verdict={"oneOf": [ref("Verdict"), {"type": "null"}]},
    )
    | {"description": "What became of one of many instances: `refusal` says why it stays; a preview has its verdict."},
    "Job": thing(
        "id instance_id element state attempts",
        id=ID,
        instance_id=ID,
        task_id=ID,
        element=STRING,
        name=STRING,
        operator=STRING,
        site=STRING,
        state={
            "type": "string",
            "enum": ["ready", "running", "done", "failed", "held", "incident", "cancelled"],
        },
        due_at=TIME,
        attempts=INTEGER,
        error=STRING,
        progress=OBJECT,
        created_at=TIME,
        started_at={"type": ["string", "null"], "format": "date-time"},
        ended_at={"type": ["string", "null"], "format": "date-time"},
    ),
    "Message": thing(
        "id name state sent_by sent_at",
        id=ID,
        name=STRING,
        business_key=STRING,
        state={"type": "string", "enum": ["waiting", "expired", "delivered", "discarded"]},
        sender_id={"type": ["string", "null"], "format": "uuid"},
        sender_element=STRING,
        sent_by=STRING,
        sent_at=TIME,
        error=STRING,
        received_by={"type": ["string", "null"], "format": "uuid"},
        ended_at={"type": ["string", "null"], "format": "date-time"},
        ended_by=STRING,
        reason=STRING,
    )
    | {
        "description": "Without its contents. `error`: why it could not be delivered; `ended_by`: who ended it by hand."
    },
    "Event": thing(
        "seq at kind actor payload digest",
        seq=INTEGER,
        at=TIME,
        kind=STRING,
        actor=STRING,
        payload=OBJECT,
        lookups=many({}),
        derived=OBJECT,
        digest=STRING,
    ),
    "Verification": thing(
        "ok events sealed findings erasure",
        ok={"type": "boolean"},
        events=INTEGER,
        sealed=INTEGER,
        findings=many(STRING),
        erasure={
            "type": ["object", "null"],
            "description": "What a disposal erased: event, disposal, inputs",
        },
    ),
}

REASON = {"application/json": thing("reason", reason=STRING)}
CHANGE = {
    "application/json": thing(
        "reason", cancel=many(STRING), start=many(STRING), set=OBJECT, unset=many(STRING), reason=STRING
    )
}
GIVEN = {"application/json": thing("to reason", to=STRING, reason=STRING)}

# method, path, summary, request body, (status, schema), refusals
OPERATIONS: list[tuple[str, str, str, dict[str, Any] | None, tuple[int, Any], str]] = [
    ("get", "/health", "Whether the service and its database answer", None, (200, thing(status=STRING, at=TIME)), ""),
    ("get", "/metrics", "Figures for Prometheus", None, (200, None), "401"),
    (
        "post",
        "/deployments",
        "Deploy diagrams, decision tables and forms as a new version",
        {"multipart/form-data": thing(note=STRING, files=many({"type": "string", "format": "binary"}))},
        (201, thing("definitions", definitions=many(ref("Definition")))),
        "400 401 403 409 413 422",
    ),
    ("get", "/definitions", "All versions of all processes", None, (200, many(ref("Definition"))), "401"),
    (
        "post",
        "/instances",
        "Start a process",
        {"application/json": thing("process_id", process_id=STRING, data=OBJECT)},
        (201, ref("Instance")),
        "400 401 403 404 413 422",
    ),
    (
        "get",
        "/instances",
        "Find instances, for operators: newest first, a hundred a page",
        None,
        (200, many(ref("State"))),
        "401 403",
    ),
    ("get", "/instances/{id}", "One process instance", None, (200, ref("Instance")), "401 404"),
    ("get", "/instances/{id}/history", "Its hash-chained history", None, (200, many(ref("Event"))), "401 404"),
    (
        "get",
        "/instances/{id}/verification",
        "Check the chain and re-execute the inputs",
        None,
        (200, ref("Verification")),
        "401 404",
    ),
    *(
        ("post", f"/instances/{{id}}/{verb}", summary, REASON, (200, ref("State")), "400 401 403 404 409 413 422")
        for verb, summary in (
            ("suspend", "Stop an instance where it stands"),
            ("resume", "Let a suspended instance go on"),
            ("cancel", "End an instance where it stands"),
        )
    ),
    (
        "post",
        "/instances/{id}/modify",
        "Move tokens and correct data, in one step",
        CHANGE,
        (200, ref("State")),
        "400 401 403 404 409 413 422",
    ),
    (
        "post",
        "/instances/{id}/preview",
        "What modify with the same body would lead to; nothing is changed",
        CHANGE,
        (200, ref("Preview")),
        "400 401 403 404 409 413 422",
    ),
    (
        "post",
        "/instances/{id}/migrate",
        "Go over to another version of the process; with `preview`, a verdict and no change",
        {"application/json": thing("version", version=INTEGER, reason=STRING, preview={"type": "boolean"})},
        (200, {"oneOf": [ref("State"), ref("Verdict")]}),
        "400 401 403 404 409 413 422",
    ),
    (
        "post",
        "/migrations",
        "Many instances go over to another version, each for itself; with `preview`, verdicts and no change",
        {
            "application/json": thing(
                "process_id version",
                process_id=STRING,
                version=INTEGER,
                ids={**many(ID), "maxItems": 100},
                **{"from": {"type": "integer", "description": "Instead of `ids`: the version that they are on."}},
                reason=STRING,
                preview={"type": "boolean"},
            )
        },
        (200, many(ref("Outcome"))),
        "400 401 403 404 413 422",
    ),
    (
        "post",
        "/instances/{id}/restart",
        "Start a new instance at a step of this one; `until` is the event that ended the stay at it",
        {
            "application/json": thing(
                "element reason",
                element=STRING,
                until=INTEGER,
                version={"type": ["integer", "string"], "description": "By default the same; or `newest`."},
                reason=STRING,
            )
        },
        (201, ref("State")),
        "400 401 403 404 409 413 422",
    ),
    (
        "get",
        "/tasks",
        "Open tasks: ?instance= of one instance, else the caller's inbox",
        None,
        (200, many(ref("Task"))),
        "401 404",
    ),
    ("get", "/tasks/{id}", "One task", None, (200, ref("Task")), "401 404"),
    ("post", "/tasks/{id}/claim", "Take a task", None, (200, ref("Task")), "401 403 404 409"),
    ("post", "/tasks/{id}/unclaim", "Give a task back", None, (200, ref("Task")), "401 403 404 409"),
    (
        "post",
        "/tasks/{id}/delegate",
        "Pass a task on to somebody",
        GIVEN,
        (200, ref("Task")),
        "400 401 403 404 409 413 422",
    ),
    (
        "post",
        "/tasks/{id}/assign",
        "Give a task to somebody, or with an empty name back to its group",
        GIVEN,
        (200, ref("Task")),
        "400 401 403 404 409 413 422",
    ),
    (
        "post",
        "/tasks/{id}/change",
        "Change a task's priority, due date or reminder",
        {
            "application/json": thing(
                "reason",
                priority=INTEGER,
                due_at={"type": ["string", "null"], "format": "date-time"},
                remind_at={"type": ["string", "null"], "format": "date-time"},
                reason=STRING,
            )
        },
        (200, ref("Task")),
        "400 401 403 404 409 413 422",
    ),
    (
        "get",
        "/jobs",
        "Jobs: ?instance= of one instance, else everything that has stopped",
        None,
        (200, many(ref("Job"))),
        "401 403 404",
    ),
    (
        "post",
        "/jobs/{id}/retry",
        "Try a stopped job again, with other parameters if need be",
        {"application/json": thing("", params=OBJECT)},
        (200, ref("Job")),
        "400 401 403 404 409 413 422",
    ),
    (
        "post",
        "/jobs/{id}/cancel",
        "Give a stopped job up: the diagram goes on by its error path",
        REASON,
        (200, ref("Job")),
        "400 401 403 404 409 413 422",
    ),
    (
        "post",
        "/tasks/{id}/complete",
        "Complete a task; a task to be signed needs the password again",
        {"application/json": thing("data", data=OBJECT, signature=thing("password", password=STRING))},
        (200, ref("Task")),
        "400 401 403 404 409 413 422",
    ),
    (
        "post",
        "/messages",
        "Send a message to the instance that waits for it: named, or found by its business key or by the data",
        {
            "application/json": thing(
                "name", name=STRING, correlation=thing(instance=ID, business_key=STRING), data=OBJECT
            )
        },
        (
            202,
            thing("delivered", delivered=INTEGER, message=ID, instance={"type": ["string", "null"], "format": "uuid"}),
        ),
        "400 401 403 404 409 413 422",
    ),
    (
        "get",
        "/messages",
        "Messages that nobody has taken, for operators and auditors; ?state=discarded: those that were discarded",
        None,
        (200, many(ref("Message"))),
        "401 403",
    ),
    *(
        ("post", f"/messages/{{id}}/{verb}", summary, REASON, (200, ref("Message")), "400 401 403 404 409 413 422")
        for verb, summary in (
            ("deliver", "Deliver a message at once that nobody has taken"),
            ("discard", "Discard a message that nobody has taken: it never arrives"),
        )
    ),
    (
        "post",
        "/signals",
        "Send a signal to all instances and start events that listen",
        {"application/json": thing("name", name=STRING, data=OBJECT)},
        (202, thing("listening", listening=INTEGER)),
        "400 401 403 413 422",
    ),
]

QUERIES = {
    ("get", "/tasks"): ("instance", "assignee"),
    ("get", "/jobs"): ("instance",),
    ("get", "/messages"): ("state",),
    ("get", "/instances"): ("state", "process", "version", "key", "element", "incident", "page"),
}

REASONS = {
    "400": "Not understood",
    "401": "No valid token",
    "403": "Not allowed",
    "404": "Not there, or not visible to the caller",
    "409": "Somebody was faster, or the state does not allow it",
    "413": "Too large",
    "422": "Refused: see `fields` or `problems`",
    "default": "Something went wrong on our side; `reference` stands in the log",
}


def document() -> dict[str, Any]:
    """The whole document as plain JSON."""
    paths: dict[str, Any] = {}
    for method, path, summary, content, (status, schema), refusals in OPERATIONS:
        success: dict[str, Any] = {"description": "Done"}
        if schema is not None:
            success["content"] = {"application/json": {"schema": schema}}
        operation: dict[str, Any] = {
            "summary": summary,
            "operationId": f"{method}_{path.strip('/').replace('/', '_').replace('{id}', 'one')}",
            "responses": {
                str(status): success,
                **{
                    code: {
                        "description": REASONS[code],
                        "content": {"application/problem+json": {"schema": ref("Problem")}},
                    }
                    for code in [*refusals.split(), "default"]
                },
            },
        }
        if content:
            operation["requestBody"] = {
                "required": True,
                "content": {kind: {"schema": shape} for kind, shape in content.items()},
            }
        parameters = []
        if "{id}" in path:
            parameters.append({"name": "id", "in": "path", "required": True, "schema": ID})
        for name in QUERIES.get((method, path), ()):
            parameters.append({"name": name, "in": "query", "schema": STRING})
        if parameters:
            operation["parameters"] = parameters
        if path == "/health":
            operation["security"] = []
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Diaoqu (调取)",
            "version": "1",
            "description": "Retrieval of video-surveillance footage as BPMN.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
