"""A simulated ONVIF Profile G recorder over real sockets."""

from device.simulator.cameras import CAMERAS, LOCAL_TIME, OLD_CAMERAS, MissingFootage, SimulatedCamera
from device.simulator.faults import ENDINGS, Faults, UnknownFaultError
from device.simulator.media import MediaError, prepare_media
from device.simulator.packets import annexb_digests, digest_of
from device.simulator.recorder import AUDIO_TRACK, VIDEO_TRACK
from device.simulator.server import Simulator
from device.simulator.timeline import Frame

__all__ = [
    "AUDIO_TRACK",
    "CAMERAS",
    "ENDINGS",
    "LOCAL_TIME",
    "OLD_CAMERAS",
    "VIDEO_TRACK",
    "Faults",
    "Frame",
    "MediaError",
    "MissingFootage",
    "SimulatedCamera",
    "Simulator",
    "UnknownFaultError",
    "annexb_digests",
    "digest_of",
    "prepare_media",
]
