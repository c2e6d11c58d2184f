"""What the recorder holds and where it can be played: the recording and replay services of ONVIF Profile G."""

from lxml import etree

from device.simulator.recorder import VIDEO_TRACK, Recording
from device.simulator.soap import Call, SoapFaultError, element, operation, written
from device.simulator.timeline import RETENTION, instant


def find_recording(call: Call, path: str) -> tuple[str, Recording]:
    """The recording that a request names.

    Raises:
        SoapFaultError: there is none.
    """
    token = call.text(path)
    if token not in call.recorder.recordings:
        raise SoapFaultError(f"there is no recording {token}", "ter:InvalidArgVal", "ter:NoRecording")
    return token, call.recorder.recordings[token]


def source(recording: Recording, prefix: str = "tt") -> etree._Element:
    camera = recording.camera
    return element(
        f"{prefix}:Source",
        element("tt:SourceId", f"urn:camera:{camera.token}"),
        element("tt:Name", camera.name),
        element("tt:Location", camera.label),
        element("tt:Description", f"{camera.codec} {camera.width}x{camera.height}"),
        element("tt:Address", f"urn:camera:{camera.token}"),
    )


def recording_information(token: str, recording: Recording) -> etree._Element:
    """tt:RecordingInformation: the camera, the bounds of its footage, its tracks."""
    earliest, latest = (
        written(instant(count)) for count in (recording.timeline.earliest(), recording.timeline.latest())
    )
    tracks = [
        element(
            "tt:Track",
            element("tt:TrackToken", name),
            element("tt:TrackType", "Video" if name == VIDEO_TRACK else "Audio"),
            element("tt:Description", loop.codec),
            element("tt:DataFrom", earliest),
            element("tt:DataTo", latest),
        )
        for name, loop in recording.tracks.items()
    ]
    return element(
        "tt:RecordingInformation",
        element("tt:RecordingToken", token),
        source(recording),
        element("tt:EarliestRecording", earliest),
        element("tt:LatestRecording", latest),
        element("tt:Content", recording.camera.label),
        *tracks,
        element("tt:RecordingStatus", "Recording"),
    )


@operation("trc:GetRecordings")
def get_recordings(call: Call) -> etree._Element:
    items = []
    for token, recording in call.recorder.recordings.items():
        tracks = [
            element(
                "tt:Track",
                element("tt:TrackToken", name),
                element(
                    "tt:Configuration",
                    element("tt:TrackType", "Video" if name == VIDEO_TRACK else "Audio"),
                    element("tt:Description", loop.codec),
                ),
            )
            for name, loop in recording.tracks.items()
        ]
        configuration = element(
            "tt:Configuration",
            source(recording),
            element("tt:Content", recording.camera.label),
            element("tt:MaximumRetentionTime", f"P{RETENTION.days}D"),
        )
        items.append(
            element(
                "trc:RecordingItem",
                element("tt:RecordingToken", token),
                configuration,
                element("tt:Tracks", *tracks),
            )
        )
    return element("trc:GetRecordingsResponse", *items)


@operation("trc:GetServiceCapabilities", before_login=True)
def recording_capabilities(_: Call) -> etree._Element:
    attributes = {"DynamicRecordings": "false", "DynamicTracks": "false", "Encoding": "H264 H265 G711"}
    return element("trc:GetServiceCapabilitiesResponse", element("trc:Capabilities", attributes=attributes))


@operation("trp:GetServiceCapabilities", before_login=True)
def replay_capabilities(_: Call) -> etree._Element:
    attributes = {"ReversePlayback": "false", "SessionTimeoutRange": "10 600", "RTP_RTSP_TCP": "true"}
    return element("trp:GetServiceCapabilitiesResponse", element("trp:Capabilities", attributes=attributes))


@operation("trp:GetReplayConfiguration")
def get_replay_configuration(call: Call) -> etree._Element:
    timeout = f"PT{call.recorder.session_timeout.total_seconds():.0f}S"
    return element(
        "trp:GetReplayConfigurationResponse", element("trp:Configuration", element("tt:SessionTimeout", timeout))
    )


@operation("trp:GetReplayUri")
def get_replay_uri(call: Call) -> etree._Element:
    token, _ = find_recording(call, "trp:RecordingToken")
    host = call.host.partition(":")[0]
    return element("trp:GetReplayUriResponse", element("trp:Uri", call.recorder.replay_address(host, token)))
