"""Draw photos before and after restoration, of each the window that changed most.

    python scripts/before_after.py PHOTO... -o weights/before_after.jpg [--model NAME] [--width 480]

Pixels are shown as they are. The windows are found by a rule, none is chosen by hand.
"""

import argparse
from pathlib import Path

from madn.errors import run_command
from madn.imaging.arrays import read_image
from madn.system.startup import start_keras
from madn.weights.registry import DEFAULT


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("-o", "--output", required=True, type=Path)
    parser.add_argument("--model", default=DEFAULT)
    parser.add_argument("--width", type=int, default=480, help="pixels of a window; its height follows the photo's")
    options = parser.parse_args(argv)
    start_keras()
    from madn.imaging.grids import write_grid
    from madn.notebook.figures import busiest
    from madn.restoration.deblurring import deblur

    rows, labels = [], []
    for path in options.photos:
        before = read_image(path)
        after = deblur(before, options.model)
        top, left, height, width = busiest(before, after, share=min(1.0, options.width / before.shape[1]))
        place = slice(top, top + height), slice(left, left + width)
        rows.append([before[place], after[place]])
        labels.append([path.name, f"restored by {Path(options.model).name}"])
    write_grid(options.output, rows, labels)


if __name__ == "__main__":
    run_command(main)
