"""What DESCRIBE answers: the tracks of a recording as SDP (RFC 4566; ONVIF Streaming Specification 6.2)."""

from collections.abc import Mapping
from datetime import datetime

from device.simulator.cameras import SimulatedCamera
from device.simulator.packets import Loop


def describe(camera: SimulatedCamera, tracks: Mapping[str, Loop], now: datetime) -> str:
    """`a=x-onvif-track` names the recording's track; the control address is the same token."""
    lines = [
        "v=0",
        f"o=- {now.timestamp():.0f} 1 IN IP4 127.0.0.1",
        f"s={camera.token}",
        "c=IN IP4 0.0.0.0",
        "t=0 0",
        "a=control:*",
    ]
    for token, loop in tracks.items():
        lines += [
            f"m={loop.kind} 0 RTP/AVP {loop.payload_type}",
            f"a=rtpmap:{loop.payload_type} {loop.codec}/{loop.clock_rate}{'/1' if loop.kind == 'audio' else ''}",
        ]
        if loop.format_line:
            lines += [f"a=fmtp:{loop.payload_type} {loop.format_line}"]
        if loop.kind == "video":
            lines += [f"a=framerate:{1 / loop.period.total_seconds():g}"]
        lines += ["a=sendonly", f"a=x-onvif-track:{token}", f"a=control:{token}"]
    return "\r\n".join(lines) + "\r\n"
