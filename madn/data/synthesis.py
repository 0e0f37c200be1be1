"""Motion blur from sharp photographs: a camera-shake path, and the mean of the frames along it in linear light."""

import functools

import cv2
import numpy as np

GAMMA = 2.2


def camera_shake(rng: np.random.Generator, frames: int, length: float, rotation: float = 0.0) -> np.ndarray:
    """A random path of a hand-held camera: poses (frames, 3) as dx, dy in pixels and an angle in radians.

    A particle with inertia, drawn back to its start, shaken at random and now and then thrown about (Boracchi and
    Foi, "Modeling the performance of image restoration from motion blur", 2012, section III; constants as in
    DeblurGAN, Kupyn et al. 2018). The path is `length` pixels long, the frames evenly spaced along it. The angle
    wanders smoothly, up to `rotation`. `frames` is odd, and the middle pose is exactly zero: the photograph itself is
    the sharp partner, as the centre frame is in GoPro. So no pose is further than length / 2 from zero.
    """
    if frames % 2 == 0:
        raise ValueError(f"frames must be odd, to have a middle; received {frames}")
    steps = 256
    pull, shake, jerk = 0.7 * rng.uniform(), 10.0 * rng.uniform(), 0.2 * rng.uniform()
    anxiety = 0.1 * rng.uniform()
    speed = 1.0 / steps
    velocity = speed * np.exp(2j * np.pi * rng.uniform())
    path = np.zeros(steps + 1, complex)
    for t in range(steps):
        force = anxiety * speed * (shake * complex(rng.normal(), rng.normal()) - pull * 60.0 * path[t])
        if rng.uniform() < jerk * anxiety:
            force += 2.0 * velocity * np.exp(1j * (np.pi + rng.uniform(-0.5, 0.5)))
        velocity += force
        velocity *= speed / abs(velocity)
        path[t + 1] = path[t] + velocity
    waves = rng.normal(size=3) @ np.sin(np.outer([1, 2, 3], np.linspace(0, np.pi, steps + 1) + rng.uniform(0, np.pi)))
    when = np.linspace(0, steps, frames)
    x, y, angle = (np.interp(when, np.arange(steps + 1), track) for track in (path.real, path.imag, waves))
    poses = np.stack([length * x, length * y, angle], axis=1)
    poses -= poses[frames // 2]
    poses[:, 2] *= rotation * rng.uniform() / max(np.abs(poses[:, 2]).max(), 1e-12)
    return poses


def average_frames(frames: np.ndarray, gamma: float = GAMMA) -> np.ndarray:
    """Frames (n, H, W, 3), uint8 or float in [0, 1] -> their mean in linear light, float32 (H, W, 3) in [0, 1]."""
    total = np.zeros(frames[0].shape, np.float32)
    for frame in frames:
        total += _linear(frame, gamma)
    return (total / len(frames)) ** np.float32(1.0 / gamma)


def blur_photo(photo: np.ndarray, poses: np.ndarray, gamma: float = GAMMA) -> np.ndarray:
    """Photograph (H, W, 3), uint8 or float in [0, 1], blurred along `poses`: float32 (H, W, 3) in [0, 1].

    Each pose turns the image about its centre and moves it; borders are reflected, so the outer pixels, as far in
    as the path reaches (`reach`), are not those of a real photograph: cut them off.
    """
    linear = _linear(photo, gamma)
    height, width = linear.shape[:2]
    total = np.zeros_like(linear)
    for dx, dy, angle in poses:
        if dx == dy == angle == 0.0:
            total += linear
            continue
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(np.degrees(angle)), 1.0)
        turn[:, 2] += dx, dy
        total += cv2.warpAffine(linear, turn, (width, height), flags=cv2.INTER_LINEAR,
                                borderMode=cv2.BORDER_REFLECT_101)
    return (total / len(poses)) ** np.float32(1.0 / gamma)


def reach(length: float, rotation: float, window: float) -> int:
    """The margin in pixels that keeps reflected borders out of a `window` pixels wide, over any camera shake."""
    return int(np.ceil(0.5 * length + 0.75 * rotation * window)) + 2


def _linear(image: np.ndarray, gamma: float) -> np.ndarray:
    if image.dtype == np.uint8:
        return _linear_of_uint8(gamma)[image]
    return image.astype(np.float32) ** np.float32(gamma)


@functools.lru_cache
def _linear_of_uint8(gamma: float) -> np.ndarray:
    return ((np.arange(256) / 255.0) ** gamma).astype(np.float32)
