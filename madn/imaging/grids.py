"""Labelled grids of images, such as blurred | restored | sharp, in one image file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from madn.imaging.arrays import save_picture, to_uint8

GAP = 4  # So many pixels lie between two cells.


def write_grid(path: str | Path, rows: Sequence[Sequence[np.ndarray]], labels: Sequence[Sequence[str]]) -> None:
    """Draw rows of float (H, W, 3) images in [0, 1], each below its label, into one image file.

    `labels` has one text per image. Images keep their pixels; sizes may differ.
    """
    tallest = max(image.shape[0] for row in rows for image in row)
    size = int(np.clip(tallest / 24, 12, 28))
    font, line = ImageFont.load_default(size=size), int(size * 1.5)
    columns = [
        max(max(image.shape[1], int(font.getlength(text)) + 2) for image, text in column)
        for column in zip(*(zip(row, texts, strict=True) for row, texts in zip(rows, labels, strict=True)), strict=True)
    ]
    heights = [line + max(image.shape[0] for image in row) for row in rows]
    canvas = Image.new("RGB", (sum(columns) + GAP * (len(columns) - 1), sum(heights) + GAP * (len(rows) - 1)), "white")
    draw = ImageDraw.Draw(canvas)
    top = 0
    for row, texts, height in zip(rows, labels, heights, strict=True):
        left = 0
        for image, text, width in zip(row, texts, columns, strict=True):
            draw.text((left + 1, top), text, fill="black", font=font)
            canvas.paste(Image.fromarray(to_uint8(image)), (left, top + line))
            left += width + GAP
        top += height + GAP
    save_picture(path, canvas)


def triple_labels(blurred_psnr: float, restored_psnr: float) -> list[str]:
    """Labels for a row blurred | restored | sharp."""
    return [f"blurred {blurred_psnr:.2f} dB", f"restored {restored_psnr:.2f} dB", "sharp"]
