"""Films with a face that is drawn by code: shaded like a photograph, so that the detector takes it for a face."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT, RATE = 320, 240, 10


def portrait(x: float, y: float, size: float) -> np.ndarray:
    """A picture (blue, green, red) with one face around (x, y), `size` pixels high, before a soft background."""
    noise = np.random.default_rng(1).normal(0, 60, (HEIGHT, WIDTH, 3)).astype(np.float32)
    across, down = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    picture = np.stack([60 + 60 * down / HEIGHT, 80 + 50 * across / WIDTH, 90 + 40 * down / HEIGHT], -1)
    picture += cv2.GaussianBlur(noise, (0, 0), 7) * 1.5
    right, below = (across - x) / size, (down - y) / size
    picture[(right / 0.9) ** 2 + ((below - 1.05) / 0.55) ** 2 < 1] = (70, 50, 40)  # shoulders
    picture[(abs(right) < 0.16) & (below > 0) & (below < 0.65)] = (95, 125, 170)  # neck
    picture[((right / 0.44) ** 2 + ((below + 0.08) / 0.55) ** 2 < 1) & (below < 0.05)] = (25, 30, 40)  # hair
    round_ = (right / 0.36) ** 2 + (below / 0.47) ** 2
    shade = np.clip(1.08 - 0.35 * round_ - 0.33 * right, 0, 1.2)[..., None]
    picture[round_ < 1] = (np.array([140, 170, 220], np.float32) * shade)[round_ < 1]
    picture[(round_ < 1) & (below < -0.29 - 0.085 * (right / 0.36) ** 2)] = (25, 30, 40)

    def spot(
        at: tuple[float, float], radius: tuple[float, float], colour: tuple[int, int, int], much: float = 1
    ) -> None:
        inside = ((right - at[0]) / radius[0]) ** 2 + ((below - at[1]) / radius[1]) ** 2
        share = (np.exp(-(inside**2)) * much)[..., None]
        picture[:] = picture * (1 - share) + np.array(colour, np.float32) * share

    for side in (-1, 1):
        spot((side * 0.155, -0.06), (0.1, 0.05), (95, 120, 165), 0.7)  # socket
        spot((side * 0.155, -0.05), (0.065, 0.025), (235, 235, 240))
        spot((side * 0.155, -0.05), (0.026, 0.026), (30, 25, 20))
        spot((side * 0.155, -0.085), (0.07, 0.012), (40, 45, 60))
        spot((side * 0.16, -0.14), (0.095, 0.018), (35, 40, 55))
        spot((side * 0.2, 0.12), (0.09, 0.07), (130, 150, 225), 0.4)
        spot((side * 0.045, 0.105), (0.02, 0.013), (60, 75, 120))
    spot((-0.03, 0.02), (0.02, 0.1), (105, 135, 185), 0.5)  # nose
    spot((0.02, 0.02), (0.02, 0.09), (175, 205, 245), 0.5)
    spot((0, 0.1), (0.06, 0.02), (105, 130, 185), 0.6)
    spot((0, 0.215), (0.115, 0.028), (85, 90, 180))  # mouth
    spot((0, 0.215), (0.11, 0.007), (45, 45, 100))
    spot((0, 0.27), (0.07, 0.015), (110, 140, 190), 0.5)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 0.7), 0, 255).astype(np.uint8)


def film_of(path: Path, draw: Callable[[float], np.ndarray], seconds: float) -> Path:
    """What `draw` shows at each second, as a recorder would deliver it, with a tone."""
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{WIDTH}x{HEIGHT}"]
    command += ["-r", str(RATE), "-i", "pipe:0", "-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]
    command += [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-crf",
        "10",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        str(path),
    ]
    pictures = b"".join(draw(number / RATE).tobytes() for number in range(round(seconds * RATE)))
    subprocess.run(command, input=pictures, check=True)
    return path
