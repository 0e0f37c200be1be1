"""The built-in sample set: photographs that scikit-image installs, blurred by synthesised camera shake.

They are rendered once, without a network, in the GoPro layout. The photographs are CC0, in the public domain or without
known restrictions (`skimage.data` says which), but for motorcycle_left, which is Middlebury stereo data 2014.
"""

import os
import shutil
import tempfile
from pathlib import Path

import cv2
import numpy as np
import skimage

from madn.data.images import cache_folder, decode
from madn.data.synthesis import blur_photo, camera_shake, reach
from madn.errors import UserError
from madn.imaging.arrays import to_uint8

VERSION = "samples-v1"  # The number is raised whenever the pictures change.
SEED = 2023
LONGEST, ROTATION = 30.0, 0.008  # The longest path is in pixels, the largest turn in radians.
# Each photograph is blurred so many times. Coffee has the fewest, so that `hold_out` validates on it.
SCENES = {
    "train": {
        "brick.png": 6,
        "camera.png": 6,
        "coffee.png": 4,
        "coins.png": 6,
        "grass.png": 4,
        "gravel.png": 6,
        "motorcycle_left.png": 10,
        "rocket.jpg": 8,
    },
    "test": {"astronaut.png": 4, "chelsea.png": 4},
}


def sample_folder() -> Path:
    """The folder of the sample set, rendered at the first call (some seconds): {train,test}/scene/{blur,sharp}/."""
    folder = cache_folder() / VERSION
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{VERSION}.", dir=folder.parent))
    except OSError as problem:
        raise UserError(f"{folder}: cannot be written ({problem.strerror}); set MADN_CACHE to another folder") from None
    try:
        part.chmod(0o755)  # mkdtemp lets only the owner in.
        render(part)
        try:
            os.replace(part, folder)
        except OSError:
            if not folder.is_dir():  # Another process may have rendered the folder in the meantime.
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def render(folder: Path) -> None:
    """Write the sample set below `folder`; the same pictures each time."""
    photos = Path(skimage.__file__).parent / "data"
    for split, scenes in SCENES.items():
        for number, (file, blurs) in enumerate(scenes.items()):
            photo = decode(photos / file)[0]
            scene = folder / split / Path(file).stem
            for kind in ("blur", "sharp"):
                (scene / kind).mkdir(parents=True)
            margin = reach(LONGEST, ROTATION, max(photo.shape))
            inside = (slice(margin, -margin), slice(margin, -margin))
            for take in range(blurs):
                rng = np.random.default_rng((SEED, split == "test", number, take))
                length = LONGEST * (take + 1.5) / (blurs + 0.5)  # The blurs go from slight to strong.
                poses = camera_shake(rng, 2 * int(np.ceil(length / 2)) + 1, length, ROTATION)
                _write(scene / "blur" / f"{take + 1:03}.png", to_uint8(blur_photo(photo, poses))[inside])
                _write(scene / "sharp" / f"{take + 1:03}.png", photo[inside])


def _write(path: Path, image: np.ndarray) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
