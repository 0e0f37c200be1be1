"""Motion blur from sharp photographs: a camera-shake path, and the mean of the frames along it in linear light.

Beside blur there is what else photographs have: things that move before a background, sensor noise, JPEG.
"""

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


def short_exposure(rng: np.random.Generator, frames: int, length: float, rotation: float = 0.0) -> np.ndarray:
    """A random path of a moving camera over a few hundredths of a second, as one of `camera_shake`, but smooth.

    In so short a time a velocity changes little: the path is a cubic, passed at the pace that its terms give it, and
    more often an arc than a tangle. Its longer half measures `length / 2` pixels, its turn is up to `rotation`, even.
    """
    if frames % 2 == 0:
        raise ValueError(f"frames must be odd, to have a middle; received {frames}")
    time = np.linspace(-0.5, 0.5, frames)
    velocity = np.exp(2j * np.pi * rng.uniform())
    acceleration, jerk = (complex(rng.normal(), rng.normal()) for _ in range(2))
    path = velocity * time + acceleration / 2 * time**2 + jerk / 3 * time**3
    halves = [np.abs(np.diff(half)).sum() for half in (path[: frames // 2 + 1], path[frames // 2 :])]
    path *= 0.5 * length / max(*halves, 1e-12)
    return np.stack([path.real, path.imag, rotation * rng.uniform(-1, 1) * 2 * time], axis=1)


def blur_photo(photo: np.ndarray, poses: np.ndarray, gamma: float = GAMMA) -> np.ndarray:
    """Photograph (H, W, 3), uint8 or float in [0, 1], blurred along `poses`: float32 (H, W, 3) in [0, 1].

    Each pose turns the image about its centre and moves it. Borders are reflected, so that the outer pixels, as far in
    as the path reaches (`reach`), are not those of a real photograph: cut them off.
    """
    linear = _linear(photo, gamma)
    total = np.zeros_like(linear)
    for pose in poses:
        total += _moved(linear, pose)
    return (total / len(poses)) ** np.float32(1.0 / gamma)


def blur_scene(
    background: np.ndarray,
    thing: np.ndarray,
    mask: np.ndarray,
    camera: np.ndarray,
    own: np.ndarray,
    gamma: float = GAMMA,
) -> tuple[np.ndarray, np.ndarray]:
    """A thing that moves before a background: (blurred, sharp), float32 (H, W, 3) in [0, 1].

    background, thing: photographs (H, W, 3), uint8 or float in [0, 1]; mask: (H, W) in [0, 1], where the thing covers
    the background. camera, own: poses (frames, 3) as of `camera_shake`, of the background and of the thing in the
    picture. The sharp image is the one at pose zero. Borders are as in `blur_photo`.
    """
    ground = _linear(background, gamma)
    covering = np.dstack([_linear(thing, gamma) * mask[..., None], mask]).astype(np.float32)

    def frame(camera_pose, own_pose):
        moved = _moved(covering, own_pose, cv2.BORDER_CONSTANT)
        return moved[..., :3] + (1 - moved[..., 3:]) * _moved(ground, camera_pose)

    total = np.zeros_like(ground)
    for poses in zip(camera, own, strict=True):
        total += frame(*poses)
    power = np.float32(1.0 / gamma)
    return (total / len(camera)) ** power, frame(np.zeros(3), np.zeros(3)) ** power


def blob(rng: np.random.Generator, side: int) -> np.ndarray:
    """A random smooth outline, filled, with an edge of about two pixels: float32 (side, side) in [0, 1].

    Its centre is anywhere in the middle half, its radius about an eighth to a third of the side.
    """
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    orders = np.arange(1, 5)
    waves = (rng.normal(size=4) / orders) @ np.cos(np.outer(orders, angles) + rng.uniform(0, 2 * np.pi, (4, 1)))
    radii = side * rng.uniform(1 / 8, 1 / 3) * np.exp(0.3 * waves)
    centre = side * rng.uniform(1 / 4, 3 / 4, 2)
    outline = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    mask = cv2.fillPoly(np.zeros((side, side), np.float32), [np.round(outline).astype(np.int32)], 1.0)
    return cv2.GaussianBlur(mask, (0, 0), 1.0)


def camera_noise(
    rng: np.random.Generator, image: np.ndarray, shot: float, read: float, gamma: float = GAMMA
) -> np.ndarray:
    """A sensor's noise on an image (H, W, 3) in [0, 1]: Gaussian in linear light, of variance shot * light + read^2.

    `shot` is the light of one electron, 1 being white; `read` the standard deviation in the dark (Foi et al.,
    "Practical Poissonian-Gaussian noise modeling and fitting for single-image raw-data", 2008).
    """
    linear = _linear(image, gamma)
    noisy = linear + np.sqrt(shot * linear + read**2) * rng.standard_normal(linear.shape, np.float32)
    return np.clip(noisy, 0, 1) ** np.float32(1.0 / gamma)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """A uint8 image (H, W, 3), RGB, as JPEG of that `quality` (1 to 100) gives it back."""
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1]


def reach(length: float, rotation: float, window: float) -> int:
    """The margin in pixels that keeps reflected borders out of a `window` pixels wide, over any camera shake."""
    return int(np.ceil(0.5 * length + 0.75 * rotation * window)) + 2


def _moved(image: np.ndarray, pose: np.ndarray, border: int = cv2.BORDER_REFLECT_101) -> np.ndarray:
    """An image turned about its centre and moved by (dx, dy, angle)."""
    dx, dy, angle = pose
    if dx == dy == angle == 0.0:
        return image
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(np.degrees(angle)), 1.0)
    turn[:, 2] += dx, dy
    return cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=border)


def _linear(image: np.ndarray, gamma: float) -> np.ndarray:
    if image.dtype == np.uint8:
        return _linear_of_uint8(gamma)[image]
    return image.astype(np.float32) ** np.float32(gamma)


@functools.lru_cache
def _linear_of_uint8(gamma: float) -> np.ndarray:
    return ((np.arange(256) / 255.0) ** gamma).astype(np.float32)
