"""Which images are measured: pairs, photographs against themselves, or photographs that are blurred for it."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from madn.data.images import DecodedImages
from madn.data.index import Pair, PairIndex, check_pairs
from madn.data.scenes import in_scenes
from madn.data.sets import open_pairs
from madn.data.synthetic import PHOTO_BLURS, Motion, check_photos, find_photos, hold_out_photos, write_pairs
from madn.errors import UserError, one_line
from madn.evaluation.metric_list import Scorer, choose
from madn.evaluation.metrics import SMALLEST
from madn.system.writing import one_name

Protocol = Literal["full", "crop"]
Scorers = dict[Protocol, Scorer]
WINDOW = 512  # A pair that is made of a photograph has so many pixels a side.


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The options that choose the images, how much of each is measured, and by which metrics."""

    data: str | None = None
    """Folder in the GoPro, REDS, RealBlur or Köhler layout; 'samples' is the built-in sample set."""
    blurred: Path | None = None
    """Folder of blurred images, instead of --data."""
    sharp: Path | None = None
    """Folder of their sharp partners, under the same names."""
    photos: Path | None = None
    """Folder of sharp photographs, each measured against itself, instead of pairs: what a network does to them."""
    held_photos: int | None = None
    """Of these only the ones that a training run with the same number holds out."""
    photo_blur: Literal["none", "shake", "camera", "video"] = "none"
    """Blur a window of 512 pixels of each photograph, as madn.train --photo-blur does, and measure these pairs, which
    are written below the output folder. A blur that would change nothing is drawn anew."""
    longest_shake: float | None = None
    """With it: longest path of the synthesised motion in pixels, as madn.train takes it."""
    split: str = "test"
    """Part of --data."""
    scenes: str | None = None
    """Only these scenes: names with commas between, as madn.train --validation takes them."""
    blur_kind: str = "blur"
    """GoPro's blurred images: blur or blur_gamma."""
    protocol: Literal["full", "crop", "both"] = "full"
    """Whole images, one random crop of each, or both after each other. Their numbers are not comparable."""
    crop: int = 256
    """Size of the crops in pixels."""
    metrics: tuple[str, ...] = ()
    """Metrics beside psnr, ssim and ssim_matlab: cw_ssim, lpips_alex, lpips_vgg, dists; or those of RealBlur's and
    Köhler's own protocols, which sets in these layouts have by themselves."""
    metric_weights: Path | None = None
    """Folder with torchvision's alexnet-*.pth or vgg16-*.pth, for lpips and dists; by default PyTorch's own cache."""
    seed: int = 0
    """Seed of the crops' places, and of the photographs' blur."""
    every: int = 1
    """Only every Nth pair: neighbours are often frames of one scene."""
    limit: int | None = None
    """Only the first N pairs of these."""
    skip_bad: bool = False
    """Leave bad pairs out and name them, instead of stopping."""

    @property
    def blurs(self) -> bool:
        """Whether photographs are blurred."""
        return self.photo_blur != "none"

    @property
    def motion(self) -> Motion:
        """The most that the photographs are blurred by."""
        return PHOTO_BLURS[self.photo_blur].motion_up_to(self.longest_shake)

    @property
    def scene_names(self) -> list[str] | None:
        """The names that --scenes lists."""
        return None if self.scenes is None else sorted({name.strip() for name in self.scenes.split(",")})

    def split_of(self, index: PairIndex) -> str | None:
        """The part that was measured, where the set is laid out in parts."""
        parted = index.layout in ("REDS", "RealBlur", "Köhler") or Path(index.root).name == self.split
        return self.split if parted else None

    def folder_name(self) -> str:
        """A name for the results, another one for other images and other blurs."""
        data = (
            f"{one_name(self.data)}-{self.split}-{self.blur_kind}"
            if self.data
            else one_name(self.photos or self.blurred)
        )
        data += f"-{one_name(self.sharp)}" if self.sharp else ""
        if scenes := self.scene_names:
            names = "+".join(scenes)
            # The names are too long for a folder's name, or have subfolders in them.
            if not re.fullmatch(r"[\w.+-]{1,100}", names):
                names = f"{len(scenes)}-scenes-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
            data += f"-{names}"
        data += f"-every{self.every}" if self.every != 1 else ""
        data += f"-limit{self.limit}" if self.limit is not None else ""
        data += f"-held{self.held_photos}" if self.held_photos is not None else ""
        if self.protocol != "full":
            data += f"-crop{self.crop}" if self.crop != type(self).crop else ""
            data += f"-seed{self.seed}" if self.seed != type(self).seed else ""
        return f"{data}-{self.photo_blur}-{self.motion.longest:g}-seed{self.seed}" if self.blurs else data

    def open(self, images: DecodedImages) -> PairIndex:
        """The pairs, every file decoded once: a broken one is named now, not in the middle of the measurement.

        Of photographs that are to be blurred all are given, whatever --every and --limit say: `blur` chooses among
        them. Raises `UserError` for bad files, unless they are to be left out, and for options that make no sense
        together.
        """
        if self.limit is not None and self.limit < 1:
            raise UserError(f"--limit {self.limit}: at least 1 pair is measured")
        if self.every < 1:
            raise UserError(f"--every {self.every}: 1 takes every pair, 2 every second one")
        if self.seed < 0:
            raise UserError(f"--seed {self.seed}: seeds are 0 or more")
        if self.photos is not None:
            return self._photos(images, self._smallest(None))
        if self.held_photos is not None:
            raise UserError("--held-photos needs photographs: --photos DIR")
        if self.blurs or self.longest_shake is not None:
            raise UserError("--photo-blur and --longest-shake need photographs: --photos DIR")
        index = self.whole_set()
        pairs = in_scenes(index.pairs, self.scenes, "--scenes: scene") if self.scenes is not None else index.pairs
        return check_pairs(replace(index, pairs=self._some(pairs)), images, self._smallest(index.layout), self.skip_bad)

    def _smallest(self, layout: str | None) -> int:
        """The pixels that an image needs each way, for the crop or for the metrics of the whole."""
        crop = self.crop if self.protocol != "full" else 0
        of_metrics = 0 if self.protocol == "crop" else max(each.smallest for each in choose(self.metrics, layout))
        return max(crop, of_metrics, SMALLEST)

    def scorers(self, index: PairIndex) -> Scorers:
        """The metrics of each protocol that is measured, ready. Raises `UserError` for what a metric lacks."""
        protocols: Sequence[Protocol] = ("full", "crop") if self.protocol == "both" else (self.protocol,)
        return {
            each: Scorer(choose(self.metrics, index.layout, each == "full"), self.metric_weights) for each in protocols
        }

    def whole_set(self) -> PairIndex:
        """All pairs of the set, unchecked, whatever --scenes, --every and --limit say. Raises as `open_pairs` does."""
        return open_pairs(self.data, self.blurred, self.sharp, self.split, self.blur_kind)

    def blur(self, index: PairIndex, images: DecodedImages, out: Path) -> tuple[PairIndex, dict[str, object]]:
        """The photographs of `index` as blurred pairs below `out`, and what the JSON says of their blur.

        A pair is that of its photograph's number, so that --every and --limit choose among the same ones.
        """
        kind, motion = PHOTO_BLURS[self.photo_blur], self.motion
        crops = kind([pair.sharp for pair in index.pairs], images, WINDOW, self.seed, motion=motion)
        numbers = tqdm(self._some(range(len(crops))), "blurring", unit="image", leave=False)
        pairs, problems = write_pairs(crops, numbers, self.photos, out / "pairs", self.skip_bad)
        for problem in problems:
            print(f"left out: {one_line(problem)}")
        return (
            replace(index, pairs=pairs, problems=index.problems + problems, layout=f"photographs {kind.SAYS}"),
            {"kind": self.photo_blur, "longest_shake": motion.longest, "window": WINDOW, "seed": self.seed},
        )

    def check_blur(self, out: Path) -> None:
        """Raises `UserError` for options of the photographs' blur that make no sense together."""
        if self.photos is None:
            return
        if self.longest_shake is not None and not self.blurs:
            raise UserError("--longest-shake is of a blur: add --photo-blur shake, camera or video, or leave it out")
        if not self.blurs:
            return
        if self.protocol != "full":  # A crop might hold nothing that moved.
            raise UserError(
                f"--protocol {self.protocol}: pairs of --photo-blur are windows of {WINDOW} pixels already; leave it "
                "out"
            )
        if out.resolve().is_relative_to(self.photos.resolve()):
            raise UserError(
                f"{out}: its pairs would be among the photographs of {self.photos} the next time; name a "
                "folder outside with --out"
            )

    def _photos(self, images: DecodedImages, smallest: int) -> PairIndex:
        """Photographs as pairs with themselves."""
        if self.data or self.blurred or self.sharp:
            raise UserError("give pairs (--data DIR, or --blurred DIR and --sharp DIR) or photographs (--photos DIR)")
        if self.scenes is not None:
            raise UserError(f"--scenes {self.scenes}: photographs have no scenes; leave it out")
        paths, notes = find_photos(self.photos)
        photos, problems = check_photos(paths, images, SMALLEST if self.blurs else smallest, self.skip_bad)
        if self.held_photos is not None:
            photos = hold_out_photos(photos, self.held_photos)[1]
        # Training, whose crops are smaller, chose among all of them: these are chosen in the same way, before the
        # size counts.
        if self.blurs:
            way_out = f"a window of {WINDOW} pixels and the margin of its blur need as much"
            least = self.motion.photo_side(WINDOW)
            photos, small = check_photos(photos, images, least, self.skip_bad, way_out=way_out)
            problems += small
        else:
            photos = self._some(photos)
        pairs = tuple(Pair(photo, photo, "", photo.relative_to(self.photos).as_posix()) for photo in photos)
        return PairIndex(pairs, problems, "sharp photographs", None, str(self.photos), notes)

    def _some(self, items):
        return items[:: self.every][: self.limit]
