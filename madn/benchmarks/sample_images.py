"""Images of any size to measure with: scikit-image's astronaut, mirrored as often as needed."""

import numpy as np

from madn.restoration.restorer import reflected


def photo(height: int, width: int) -> np.ndarray:
    """A photo, uint8 (height, width, 3)."""
    from skimage.data import astronaut

    picture = astronaut()
    return np.take(
        np.take(picture, reflected(picture.shape[0], max(height, picture.shape[0]))[:height], 0),
        reflected(picture.shape[1], max(width, picture.shape[1]))[:width],
        1,
    )


def crops(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(blurred, sharp), float32 (count, side, side, 3) in [0, 1]: parts of the photo, blurred sideways."""
    picture = photo(side + 8 * count, side + 8) / np.float32(255)
    blurred = (picture[:, :-8] + picture[:, 4:-4] + picture[:, 8:]) / 3
    places = [slice(8 * i, 8 * i + side) for i in range(count)]
    return np.stack([blurred[place] for place in places]), np.stack([picture[place, 4:-4] for place in places])
