"""Train several recipes for the same time on the same crops, and measure them: python -m madn.compare --data DIR"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from madn import recipes
from madn.data.sets import open_pairs
from madn.errors import UserError, run_command
from madn.system.commandline import parse
from madn.system.startup import start_keras

BUDGET = ("madn-budget", "sisnet-budget", "structure_guided-budget", "msr2b-budget", "egnet-budget")
LONGEST = 365 * 24 * 60  # A year; the steps of 1e15 minutes might not fit into 64 bits.


@dataclass(frozen=True)
class CompareOptions:
    """Each recipe gets the same minutes; a stopped comparison goes on where it was when called again."""

    data: tuple[str, ...]
    """Training sets, as madn.train takes them."""
    photos: str | None = None
    """Folder of sharp photographs to blur, mixed half and half with the pairs."""
    photo_blur: Literal["shake", "camera", "video"] = "shake"
    """Their blur, as madn.train takes it."""
    weights: str | None = None
    """Generator's .weights.h5 file that each run starts from, as madn.train takes it."""
    test: str | None = None
    """Set whose test part is measured; by default the first of --data."""
    validation: str = "auto"
    """Scenes held out to choose each run's best checkpoint."""
    recipes: tuple[str, ...] = BUDGET
    """What to compare."""
    minutes: float = 30.0
    """Training time of each run."""
    seeds: int = 1
    """How often each is trained, each time with another seed; the table then has means and spreads, and ranks."""
    run: Path = Path("runs/compare")
    """Folder of the runs, and of the table: table.md, table.json."""
    vgg16_weights: str | None = None
    """File of VGG16 weights for the recipes that need them; by default Keras' download."""
    vgg19_weights: str | None = None
    """The same for VGG19."""


def main(argv: list[str]) -> None:
    """The table on the screen and in the folder."""
    options = parse(CompareOptions, argv, "python -m madn.compare", __doc__)
    if not options.data or not options.recipes:
        raise UserError("--data and --recipes take at least one name each")
    for name in options.recipes:
        recipes.check_name(name)
    if options.photos is None and options.photo_blur != "shake":
        raise UserError("--photo-blur needs photographs: --photos DIR")
    if options.seeds < 1:
        raise UserError(f"--seeds must be 1 or more; received {options.seeds}")
    if not 0 < options.minutes <= LONGEST:  # NaN is not within it either.
        raise UserError(f"--minutes must be above 0, and at most {LONGEST}, a year; received {options.minutes:g}")
    for file in (options.weights, options.vgg16_weights, options.vgg19_weights):
        if file and not Path(file).is_file():
            raise UserError(f"{file}: no such weights file")
    test = options.test or options.data[0]
    for data, split in (*((each, "train") for each in options.data), (test, "test")):
        open_pairs(data, split=split)  # A missing folder is named before hours of training.
    start_keras()
    from madn.papers.comparison import Contest

    weights = {"vgg16": options.vgg16_weights, "vgg19": options.vgg19_weights}
    try:
        contest = Contest(options.run, options.minutes, training_options(options), test, options.seeds)
        print(contest.run(options.recipes, weights))
    except KeyboardInterrupt:
        raise KeyboardInterrupt("the same command goes on") from None


def training_options(options: CompareOptions) -> list[str]:
    """The options of madn.train that all runs have in common."""
    photos = ["--photos", options.photos, "--photo-blur", options.photo_blur] if options.photos else []
    weights = ["--weights", options.weights] if options.weights else []
    return ["--data", *options.data, *photos, *weights, "--validation", options.validation]


if __name__ == "__main__":
    run_command(main)
