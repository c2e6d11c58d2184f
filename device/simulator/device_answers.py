"""What the recorder says of itself and of its cameras: the device and media services of ONVIF."""

from datetime import datetime

from lxml import etree

from device.simulator.cameras import LOCAL_TIME
from device.simulator.soap import NAMESPACES, Call, SoapFaultError, element, operation

PATHS = {"tds": "device_service", "trt": "media", "trc": "recording", "tse": "search", "trp": "replay"}
"""Where each service lives under /onvif/."""

SCOPES = tuple(
    f"onvif://www.onvif.org/{scope}"
    for scope in ("type/video_encoder", "Profile/G", "name/Simulated_recorder", "hardware/none")
)

_VERSIONS = {"tds": (21, 12), "trt": (21, 12), "trc": (21, 12), "tse": (21, 12), "trp": (21, 12)}


def _address(call: Call, prefix: str) -> str:
    return f"http://{call.recorder.faults.nat or call.host}/onvif/{PATHS[prefix]}"


@operation("tds:GetSystemDateAndTime", before_login=True)
def get_system_date_and_time(call: Call) -> etree._Element:
    now = call.recorder.now()
    return element(
        "tds:GetSystemDateAndTimeResponse",
        element(
            "tds:SystemDateAndTime",
            element("tt:DateTimeType", "Manual"),
            element("tt:DaylightSavings", "false"),
            element("tt:TimeZone", element("tt:TZ", "CST-8")),
            element("tt:UTCDateTime", *_date_and_time(now)),
            element("tt:LocalDateTime", *_date_and_time(now.astimezone(LOCAL_TIME))),
        ),
    )


def _date_and_time(at: datetime) -> tuple[etree._Element, etree._Element]:
    hour, minute, second = at.hour, at.minute, at.second
    time = (element("tt:Hour", f"{hour}"), element("tt:Minute", f"{minute}"), element("tt:Second", f"{second}"))
    date = (element("tt:Year", f"{at.year}"), element("tt:Month", f"{at.month}"), element("tt:Day", f"{at.day}"))
    return element("tt:Time", *time), element("tt:Date", *date)


@operation("tds:GetDeviceInformation")
def get_device_information(call: Call) -> etree._Element:
    return element(
        "tds:GetDeviceInformationResponse",
        element("tds:Manufacturer", "Diaoqu"),
        element("tds:Model", "Simulated recorder"),
        element("tds:FirmwareVersion", "1.0"),
        element("tds:SerialNumber", f"SIM-{len(call.recorder.recordings):04d}"),
        element("tds:HardwareId", "none"),
    )


@operation("tds:GetCapabilities", before_login=True)
def get_capabilities(call: Call) -> etree._Element:
    """As on many real recorders, only the oldest services: search, recording and replay are in GetServices alone."""
    return element(
        "tds:GetCapabilitiesResponse",
        element(
            "tds:Capabilities",
            element("tt:Device", element("tt:XAddr", _address(call, "tds"))),
            element(
                "tt:Media",
                element("tt:XAddr", _address(call, "trt")),
                element(
                    "tt:StreamingCapabilities",
                    element("tt:RTPMulticast", "false"),
                    element("tt:RTP_TCP", "true"),
                    element("tt:RTP_RTSP_TCP", "true"),
                ),
            ),
        ),
    )


@operation("tds:GetServices", before_login=True)
def get_services(call: Call) -> etree._Element:
    services = []
    for prefix, (major, minor) in _VERSIONS.items():
        version = element("tds:Version", element("tt:Major", f"{major}"), element("tt:Minor", f"{minor}"))
        namespace = element("tds:Namespace", NAMESPACES[prefix])
        services.append(element("tds:Service", namespace, element("tds:XAddr", _address(call, prefix)), version))
    return element("tds:GetServicesResponse", *services)


@operation("tds:GetScopes")
def get_scopes(_: Call) -> etree._Element:
    return element(
        "tds:GetScopesResponse",
        *(element("tds:Scopes", element("tt:ScopeDef", "Fixed"), element("tt:ScopeItem", scope)) for scope in SCOPES),
    )


@operation("trt:GetProfiles")
def get_profiles(call: Call) -> etree._Element:
    profiles = []
    for token, recording in call.recorder.recordings.items():
        camera = recording.camera
        bounds = {"x": "0", "y": "0", "width": f"{camera.width}", "height": f"{camera.height}"}
        source = element(
            "tt:VideoSourceConfiguration",
            element("tt:Name", camera.name),
            element("tt:UseCount", "1"),
            element("tt:SourceToken", f"source-{token}"),
            element("tt:Bounds", attributes=bounds),
            attributes={"token": f"source-configuration-{token}"},
        )
        # Media 1 has no name for H.265: like real devices, leave such an encoder out.
        attributes = {"token": f"profile-{token}", "fixed": "true"}
        profiles.append(element("trt:Profiles", element("tt:Name", camera.name), source, attributes=attributes))
    return element("trt:GetProfilesResponse", *profiles)


@operation("trt:GetStreamUri")
def get_stream_uri(call: Call) -> etree._Element:
    token = call.text("trt:ProfileToken").removeprefix("profile-")
    if token not in call.recorder.recordings:
        raise SoapFaultError("there is no such profile", "ter:InvalidArgVal", "ter:NoProfile")
    host = call.host.partition(":")[0]
    return element(
        "trt:GetStreamUriResponse",
        element(
            "trt:MediaUri",
            element("tt:Uri", f"rtsp://{host}:{call.recorder.rtsp_port}/live/{token}"),
            element("tt:InvalidAfterConnect", "false"),
            element("tt:InvalidAfterReboot", "false"),
            element("tt:Timeout", "PT0S"),
        ),
    )
