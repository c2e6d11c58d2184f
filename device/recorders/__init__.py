"""Recorder drivers: one protocol, one file a kind."""

from typing import Any

from device.recorders.base import N_, DeviceError, Recorder

DRIVERS = ("onvif", "rtsp", "folder", "hikvision", "dahua")


def open_recorder(driver: str, url: str, username: str = "", password: str = "", **options: Any) -> Recorder:
    """The driver for a registered recorder. Opens no connection yet; `options` are the driver's own.

    Raises:
        DeviceError: there is no such driver.
    """
    if driver == "onvif":
        from device.recorders.onvif import OnvifRecorder

        return OnvifRecorder(url, username, password, **options)
    if driver == "rtsp":
        from device.recorders.replay import RtspRecorder

        return RtspRecorder(url, username, password, **options)
    if driver == "folder":
        from device.recorders.folder import FolderRecorder

        return FolderRecorder(url, username, password, **options)
    if driver == "hikvision":
        from device.recorders.hikvision import HikvisionRecorder

        return HikvisionRecorder(url, username, password, **options)
    if driver == "dahua":
        from device.recorders.dahua import DahuaRecorder

        return DahuaRecorder(url, username, password, **options)
    raise DeviceError(
        N_("There is no driver %(driver)s for recorders: use one of %(drivers)s."),
        driver=repr(driver),
        drivers=", ".join(DRIVERS),
    )
