"""The search service of ONVIF Profile G: which recordings there are, and the events that tell their gaps."""

import re
from datetime import datetime, timedelta

from lxml import etree

from device.simulator.recorder import Recording
from device.simulator.recording_answers import find_recording, recording_information
from device.simulator.search_sessions import PAGE, TooManySearchesError, UnknownSearchError
from device.simulator.soap import Call, SoapFaultError, element, operation, written
from device.simulator.timeline import instant, microseconds

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_TOPIC = "tns1:RecordingHistory/Track/State"
_DIALECT = "http://www.onvif.org/ver10/tev/topicExpression/ConcreteSet"


def _begin(call: Call, kind: str, results: list[etree._Element], endpoint: datetime) -> etree._Element:
    """Open a search and return its token."""
    limit = call.number("tse:MaxMatches", len(results))
    keep_alive = _duration(call.text("tse:KeepAliveTime", "PT60S"))
    try:
        token = call.recorder.searches.begin(kind, results[:limit], endpoint, keep_alive)
    except TooManySearchesError as error:
        raise SoapFaultError(str(error), "ter:Action", "ter:ResourceProblem", sender=False) from error
    return element("tse:SearchToken", token)


def _page(call: Call, kind: str) -> etree._Element:
    """The next results of a search."""
    try:
        search = call.recorder.searches.find(call.text("tse:SearchToken"), kind)
    except UnknownSearchError as error:
        raise SoapFaultError(str(error), "ter:InvalidArgVal", "ter:InvalidToken") from error
    found = search.take(min(PAGE[kind], call.number("tse:MaxResults", PAGE[kind]) or PAGE[kind]))
    return element("tse:ResultList", element("tt:SearchState", search.state), *found)


def _duration(text: str) -> timedelta:
    """The xs:duration of a keep-alive; years and months are no lengths of time."""
    found = _DURATION.fullmatch(text)
    if not found:
        raise SoapFaultError("KeepAliveTime is not a duration", "ter:InvalidArgVal")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return timedelta(days=min(days, 1), hours=min(hours, 24), minutes=min(minutes, 60), seconds=min(seconds, 3600))


def _wanted(call: Call) -> dict[str, Recording]:
    """The recordings within the request's scope."""
    named = call.texts("tse:Scope/tt:IncludedRecordings")
    recordings = call.recorder.recordings
    return {token: recording for token, recording in recordings.items() if not named or token in named}


@operation("tse:GetServiceCapabilities", before_login=True)
def search_capabilities(_: Call) -> etree._Element:
    attributes = {"MetadataSearch": "false", "GeneralStartEvents": "false"}
    return element("tse:GetServiceCapabilitiesResponse", element("tse:Capabilities", attributes=attributes))


@operation("tse:GetRecordingSummary")
def get_recording_summary(call: Call) -> etree._Element:
    timelines = [recording.timeline for recording in call.recorder.recordings.values()]
    summary = element(
        "tse:Summary",
        element("tt:DataFrom", written(instant(min(timeline.earliest() for timeline in timelines)))),
        element("tt:DataUntil", written(instant(max(timeline.latest() for timeline in timelines)))),
        element("tt:NumberRecordings", f"{len(timelines)}"),
    )
    return element("tse:GetRecordingSummaryResponse", summary)


@operation("tse:GetRecordingInformation")
def get_recording_information(call: Call) -> etree._Element:
    token, recording = find_recording(call, "tse:RecordingToken")
    information = recording_information(token, recording)
    information.tag = element("tse:RecordingInformation").tag
    return element("tse:GetRecordingInformationResponse", information)


@operation("tse:FindRecordings")
def find_recordings(call: Call) -> etree._Element:
    results = [recording_information(token, recording) for token, recording in _wanted(call).items()]
    return element("tse:FindRecordingsResponse", _begin(call, "recordings", results, call.recorder.now()))


@operation("tse:GetRecordingSearchResults")
def get_recording_search_results(call: Call) -> etree._Element:
    return element("tse:GetRecordingSearchResultsResponse", _page(call, "recordings"))


@operation("tse:FindEvents")
def find_events(call: Call) -> etree._Element:
    """When footage begins and ends on each track; backwards if the end is before the start (ONVIF Search 5.9)."""
    start = call.time("tse:StartPoint")
    if start is None:
        raise SoapFaultError("StartPoint is missing", "ter:InvalidArgVal")
    end = call.time("tse:EndPoint") or call.recorder.now()
    topic = call.text("tse:SearchFilter/wsnt:TopicExpression")
    results: list[etree._Element] = []
    if not topic or "RecordingHistory" in topic:
        results = _events(call, start, end, with_state=call.text("tse:IncludeStartState") in ("true", "1"))
    return element("tse:FindEventsResponse", _begin(call, "events", results, end))


def _events(call: Call, start: datetime, end: datetime, *, with_state: bool) -> list[etree._Element]:
    first, last = sorted((microseconds(start), microseconds(end)))
    now = microseconds(call.recorder.now())
    found: list[tuple[int, bool, bool, str, str]] = []
    for token, recording in _wanted(call).items():
        timeline = recording.timeline
        earliest = timeline.earliest()
        changes = [(earliest, True)] if first <= earliest <= last else []
        for begins, ends in timeline.missing(max(first, earliest), min(last, now), clipped=False):
            changes += [(begins, False)] if begins >= first else []
            changes += [(ends, True)] if ends <= min(last, now) else []
        for track in recording.tracks:
            if with_state:
                found.append((microseconds(start), timeline.continues(microseconds(start)), True, token, track))
            found += [(at, present, False, token, track) for at, present in changes]
    found.sort(key=lambda each: (not each[2], each[0] if start <= end else -each[0]))
    return [_event(*each) for each in found]


def _event(at: int, present: bool, start_state: bool, token: str, track: str) -> etree._Element:
    time = written(instant(at))

    def item(name: str, value: str) -> etree._Element:
        return element("tt:SimpleItem", attributes={"Name": name, "Value": value})

    message = element(
        "tt:Message",
        element("tt:Source", item("RecordingToken", token), item("Track", track)),
        element("tt:Data", item("IsDataPresent", "true" if present else "false")),
        attributes={"UtcTime": time, "PropertyOperation": "Initialized" if start_state else "Changed"},
    )
    return element(
        "tt:Result",
        element("tt:RecordingToken", token),
        element("tt:TrackToken", track),
        element("tt:Time", time),
        element(
            "tt:Event",
            element("wsnt:Topic", _TOPIC, attributes={"Dialect": _DIALECT}),
            element("wsnt:Message", message),
        ),
        element("tt:StartStateEvent", "true" if start_state else "false"),
    )


@operation("tse:GetEventSearchResults")
def get_event_search_results(call: Call) -> etree._Element:
    return element("tse:GetEventSearchResultsResponse", _page(call, "events"))


@operation("tse:GetSearchState")
def get_search_state(call: Call) -> etree._Element:
    try:
        search = call.recorder.searches.find(call.text("tse:SearchToken"))
    except UnknownSearchError as error:
        raise SoapFaultError(str(error), "ter:InvalidArgVal", "ter:InvalidToken") from error
    return element("tse:GetSearchStateResponse", element("tse:State", search.state))


@operation("tse:EndSearch")
def end_search(call: Call) -> etree._Element:
    try:
        endpoint = call.recorder.searches.end(call.text("tse:SearchToken"))
    except UnknownSearchError as error:
        raise SoapFaultError(str(error), "ter:InvalidArgVal", "ter:InvalidToken") from error
    return element("tse:EndSearchResponse", element("tse:Endpoint", written(endpoint)))
