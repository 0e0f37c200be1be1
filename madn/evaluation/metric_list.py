"""All metrics, in one list: what `madn.evaluate` measures, prints and writes, and what `--metrics` can name."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from madn.errors import UserError
from madn.evaluation import kohler
from madn.evaluation.alignment import AlignedScores
from madn.evaluation.cw_ssim import cw_ssim
from madn.evaluation.metrics import SMALLEST, psnr, ssim, ssim_matlab
from madn.evaluation.perceptual import open_dists, open_lpips

Measure = Callable[..., float | tuple[float, ...]]
"""A restored float (H, W, 3) image in [0, 1] and its sharp partner, or the frames -> a number or several."""


@dataclass(frozen=True)
class Metric:
    """A metric, or several that are computed together.

    `explained`: the name of each number, and what it is. `open`, called once before anything is measured, with the
    folder of weights that the user names, or None, returns the `Measure`; it raises `UserError` for what is missing.
    `standard`: measured of every pair. `layout`: measured of whole images of a set in this layout. All others are
    measured where they are named. `of_frames`: given the sharp frames along the motion instead of the sharp image.
    `smallest`: the pixels that an image needs each way.
    """

    explained: dict[str, str]
    open: Callable[[Path | None], Measure]
    standard: bool = False
    layout: str | None = None
    of_frames: bool = False
    smallest: int = SMALLEST


METRICS: list[Metric] = [
    Metric(
        {"psnr": "dB, 10 log10(255^2/MSE) over all RGB values of uint8 images; mean over images"},
        lambda weights: psnr,
        standard=True,
    ),
    Metric(
        {"ssim": "scikit-image, per channel, 11x11 Gaussian, sigma 1.5, population covariance, uint8"},
        lambda weights: ssim,
        standard=True,
    ),
    Metric(
        {
            "ssim_matlab": "MATLAB's ssim of an RGB array: 11x11x11 Gaussian over H, W and C, replicate padding, uint8",
        },
        lambda weights: ssim_matlab,
        standard=True,
    ),
    Metric(
        {
            "psnr_aligned": "dB, scaled and warped onto the sharp image by ECC, as RealBlur's authors measure",
            "ssim_aligned": "ssim's kind, scaled and warped onto the sharp image by ECC, as RealBlur's authors measure",
        },
        lambda weights: AlignedScores(),
        layout="RealBlur",
    ),
    Metric(
        {
            "psnr_kohler": "dB, of the luma, scaled and moved, the best over the motion's frames: Köhler's own script",
            "mssim_kohler": "multi-scale SSIM of the luma, as psnr_kohler: Köhler's own script",
        },
        lambda weights: kohler.best_scores,
        layout="Köhler",
        of_frames=True,
        smallest=kohler.SMALLEST,
    ),
    Metric(
        {"cw_ssim": "cw_ssim_value of pyssim, as DeblurGAN's scripts call it: not the measure of Sampat et al."},
        lambda weights: cw_ssim,
        smallest=18,
    ),
    Metric(
        {"lpips_alex": "LPIPS 0.1 with AlexNet (torchmetrics), lower is better"},
        lambda weights: open_lpips("alex", weights),
        smallest=64,
    ),
    Metric(
        {"lpips_vgg": "LPIPS 0.1 with VGG16 (torchmetrics), lower is better"},
        lambda weights: open_lpips("vgg", weights),
        smallest=64,
    ),
    Metric({"dists": "DISTS with VGG16 (torchmetrics), lower is better"}, open_dists, smallest=64),
]


class Scores(dict[str, float]):
    """Metric -> number, of one image or in the mean over images; each is an attribute as well: `scores.psnr`."""

    def __getattr__(self, name: str) -> float:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Scorer:
    """Metrics that are ready to measure: called with an image and its sharp partner it returns `Scores`.

    `explained` says of each number what it is. Images need `smallest` pixels each way, because of the metric `limit`.
    Raises `UserError` as the metrics' `open` does.
    """

    def __init__(self, metrics: Sequence[Metric], weights: Path | None = None):
        self.explained = {name: text for metric in metrics for name, text in metric.explained.items()}
        self.smallest, self.limit = max((metric.smallest, next(iter(metric.explained))) for metric in metrics)
        self._opened = [(metric, metric.open(weights)) for metric in metrics]

    def __call__(
        self, image: np.ndarray, sharp: np.ndarray, frames: Callable[[], Iterable[np.ndarray]] | None = None
    ) -> Scores:
        """All numbers of a float (H, W, 3) image in [0, 1]; `frames` is called for each metric that is of frames."""
        scores = Scores()
        for metric, measure in self._opened:
            found = measure(image, frames() if metric.of_frames and frames else sharp)
            scores.update(zip(metric.explained, found if isinstance(found, tuple) else (found,), strict=True))
        return scores

    @property
    def remarks(self) -> list[str]:
        """What the metrics have to say of the images that they measured, such as which could not be aligned."""
        return [remark for _, measure in self._opened if (remark := getattr(measure, "remark", ""))]


def choose(names: Sequence[str] = (), layout: str | None = None, whole: bool = True) -> list[Metric]:
    """The standard metrics, those of the layout where whole images are measured, and those that are named.

    Raises `UserError` for a name that no metric has, and for one of frames that are not there.
    """
    known = {name: metric for metric in METRICS for name in metric.explained}
    for name in names:
        if name not in known:
            raise UserError(f"--metrics {name}: there is no such metric; there is {', '.join(known)}")
        if known[name].of_frames and not (layout == known[name].layout and whole):
            raise UserError(f"--metrics {name}: it is of whole images in the layout of {known[name].layout}'s set")
    return [
        metric
        for metric in METRICS
        if metric.standard
        or (whole and layout is not None and metric.layout == layout)
        or set(metric.explained) & set(names)
    ]
