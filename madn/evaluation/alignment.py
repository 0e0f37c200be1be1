"""RealBlur's scores with alignment, by evaluation_RealBlur_ecc.py of the data set's authors (Rim et al. 2020).

The two cameras of RealBlur see a scene from places that differ a little even behind the authors' own alignment. So the
restored image is first multiplied by the factor that brings it nearest to the sharp one, then warped onto it by the
homography that maximises the enhanced correlation coefficient (ECC, Evangelidis and Psarakis 2008) of their grey
images; OpenCV does it, in 100 iterations from the identity, behind a Gaussian window of 5 pixels. PSNR and SSIM are
taken where the warped image has values, of the float images, which are not rounded again.
"""

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from madn.imaging.arrays import to_float, to_uint8

ITERATIONS = 100
WINDOW = 5  # Pixels a side of the Gaussian that smooths both images for ECC.
EDGE = 5  # SSIM leaves out so many pixels at each edge.


class AlignedScores:
    """Called with a restored and a sharp image, it returns PSNR in dB and SSIM of the aligned one.

    Images are float (H, W, 3) in [0, 1], 11 pixels or more each way; the restored one is rounded to 8 bits, as a file
    is. Where ECC finds no alignment, the image is scored where it is; `remark` says how often that was.
    """

    def __init__(self) -> None:
        self.calls = self.failures = 0

    def __call__(self, restored: np.ndarray, sharp: np.ndarray) -> tuple[float, float]:
        restored, sharp = (to_float(to_uint8(image)) for image in (restored, sharp))
        moved, mask, found = align(restored, sharp)
        self.calls += 1
        self.failures += not found
        sharp = sharp * mask
        error = np.sum((sharp - moved) ** 2, dtype=np.float64) / np.sum(mask)
        psnr = float(10.0 * np.log10(1.0 / error)) if error else float("inf")
        _, similarity = structural_similarity(
            sharp.astype(np.float64),  # scikit-image 0.17, which the authors ask for, computes in float64.
            moved.astype(np.float64),
            channel_axis=2,
            gaussian_weights=True,
            use_sample_covariance=False,
            data_range=1.0,
            full=True,
        )
        inner = np.s_[EDGE:-EDGE, EDGE:-EDGE]
        ssim = (similarity * mask)[inner].sum((0, 1)) / np.maximum(mask[inner].sum((0, 1)), 1e-12)
        return psnr, float(ssim.mean())

    @property
    def remark(self) -> str:
        """A line where images could not be aligned, else nothing."""
        if not self.failures:
            return ""
        return f"ECC aligned all but {self.failures:,} of {self.calls:,} images; those are scored where they are"


def align(restored: np.ndarray, sharp: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """The restored image, scaled and warped onto the sharp one, and where it has values.

    Args:
        restored, sharp: float32 (H, W, 3) in [0, 1] of one size.
    Returns:
        The image, 0 outside the mask; the mask, float32 (H, W, 3) of 0 and 1; whether ECC found an alignment.
    """
    energy = np.sum(restored * restored)
    scaled = (np.sum(sharp * restored) / energy if energy else np.float32(0.0)) * restored
    grey_sharp, grey = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (sharp, scaled))
    # An epsilon of 0 lets all iterations be made.
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, ITERATIONS, 0)
    identity = np.eye(3, dtype=np.float32)
    try:
        _, warp = cv2.findTransformECC(
            grey_sharp, grey, identity.copy(), cv2.MOTION_HOMOGRAPHY, criteria, inputMask=None, gaussFiltSize=WINDOW
        )
        found = bool(np.isfinite(warp).all())
    except cv2.error:  # The images have too little in common, or one of them is even.
        found = False
    warp = warp if found else identity
    size = sharp.shape[1], sharp.shape[0]
    moved = cv2.warpPerspective(
        scaled, warp, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )
    mask = cv2.warpPerspective(
        np.ones_like(scaled), warp, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT
    )
    return moved * mask, mask, found
