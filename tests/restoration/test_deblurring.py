"""madn.deblur(image): what goes in comes out, restored, in its own shape and type."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import madn
from madn.errors import UserError
from madn.restoration import deblurring as restoration
from madn.restoration import runtimes
from madn.restoration.restorer import Restorer
from madn.weights.registry import DEFAULT

KEEPING = Restorer(lambda batch: batch)
INVERTING = Restorer(lambda batch: 1.0 - batch)
FLOATS = (np.float16, np.float32, np.float64)


def noise(*shape, kind=np.uint8):
    random = np.random.default_rng(0)
    if np.issubdtype(kind, np.integer):
        return random.integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)
    return random.random(shape).astype(kind)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, *FLOATS])
@pytest.mark.parametrize("shape", [(70, 85, 3), (70, 85), (70, 85, 1), (70, 85, 4), (1, 1), (1, 40, 3)])
def test_arrays_keep_shape_type_and_values(kind, shape):
    image = noise(*shape, kind=kind)
    given = image.copy()
    for restorer in (KEEPING, Restorer(lambda batch: batch, tile=64)):
        restored = madn.deblur(image, restorer)
        assert restored.shape == shape and restored.dtype == kind
        if kind in FLOATS:
            np.testing.assert_allclose(restored, image, atol=1e-3 if kind == np.float16 else 1e-6)
        else:
            np.testing.assert_array_equal(restored, image)
    np.testing.assert_array_equal(image, given)


def test_alpha_is_passed_through_and_colours_are_restored():
    image = noise(9, 8, 4)
    restored = madn.deblur(image, INVERTING)
    np.testing.assert_array_equal(restored, np.dstack([255 - image[:, :, :3], image[:, :, 3]]))


@pytest.mark.parametrize("kind", FLOATS)
@pytest.mark.parametrize("shape", [(80, 90, 3), (80, 90)])
def test_floats_stay_within_their_range(kind, shape):
    """What the network overshoots is clipped; weights of tiles and of grey do not add to more than 1."""
    image = np.ones(shape, kind)
    for restorer in (Restorer(lambda batch: 3 * batch), Restorer(lambda batch: batch, blend=8, tile=80)):
        restored = madn.deblur(image, restorer)
        assert restored.dtype == kind and restored.max() <= 1 and float(restored.min()) > 1 - 1e-6
    assert madn.deblur(image, Restorer(lambda batch: batch - 2)).max() == 0


def test_arrays_of_the_other_byte_order():
    image = noise(5, 6, 3, kind=np.uint16)
    restored = madn.deblur(image.astype(">u2"), KEEPING)
    assert restored.dtype == np.uint16
    np.testing.assert_array_equal(restored, image)


def test_views_and_lists_of_arrays():
    image = noise(12, 16, 3)
    np.testing.assert_array_equal(madn.deblur(image[::-1, ::2], INVERTING), 255 - image[::-1, ::2])
    image.flags.writeable = False
    np.testing.assert_array_equal(madn.deblur(image, INVERTING), 255 - image)
    np.testing.assert_array_equal(madn.deblur(list(image), INVERTING), 255 - image)


@pytest.mark.parametrize(
    "image, message",
    [
        (np.zeros((4, 4, 3), np.int64), "uint8, uint16 or float; received int64"),
        (np.zeros((4, 4, 3), bool), "received bool"),
        (None, "received object"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"received shape \(2, 4, 4, 3\)"),
        (np.zeros((3, 4, 5), np.uint8), r"received shape \(3, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), r"received shape \(0, 4, 3\)"),
        (np.zeros(4, np.uint8), r"received shape \(4,\)"),
        (np.full((4, 4), 255.0), r"lies in \[0, 1\]; received \[255, 255\]"),
        (np.full((4, 4), -0.5), r"received \[-0.5, -0.5\]"),
        (np.full((4, 4), np.nan), r"received \[nan, nan\]"),
        (Image.new("F", (4, 4)), "8 or 16 bits; received mode F"),
        (Image.new("RGB", (0, 4)), r"received shape \(4, 0, 3\)"),
    ],
)
def test_what_is_no_image_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        madn.deblur(image, KEEPING)


def test_files(tmp_path):
    image = noise(9, 14, 4)
    Image.fromarray(image).save(tmp_path / "rgba.png")
    Image.fromarray(noise(9, 14, kind=np.uint16)).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(madn.deblur(str(tmp_path / "rgba.png"), KEEPING), image)
    np.testing.assert_array_equal(madn.deblur(tmp_path / "deep.png", KEEPING), noise(9, 14, 1, kind=np.uint16))
    with pytest.raises(UserError, match=r"none\.png: no such file"):
        madn.deblur(tmp_path / "none.png", KEEPING)


@pytest.mark.parametrize(
    "mode, shape",
    [
        ("RGB", (9, 14, 3)),
        ("RGBA", (9, 14, 4)),
        ("L", (9, 14)),
        ("1", (9, 14)),
        ("LA", (9, 14, 4)),
        ("P", (9, 14, 3)),
        ("CMYK", (9, 14, 3)),
        ("YCbCr", (9, 14, 3)),
    ],
)
def test_pil_images(mode, shape):
    picture = Image.fromarray(noise(9, 14, 3)).convert(mode)
    restored = madn.deblur(picture, KEEPING)
    assert restored.shape == shape and restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, picture.convert({1: "L", 3: "RGB", 4: "RGBA"}[(*shape, 1)[2]]))


def test_pil_images_of_16_bits_and_a_palette_with_transparency():
    deep = noise(9, 14, kind=np.uint16)
    for picture in (Image.fromarray(deep), Image.frombytes("I;16B", (14, 9), deep.astype(">u2").tobytes())):
        restored = madn.deblur(picture, KEEPING)
        assert restored.dtype == np.uint16
        np.testing.assert_array_equal(restored, deep)
    picture = Image.fromarray(noise(9, 14, 3)).quantize(16)
    picture.info["transparency"] = 3
    np.testing.assert_array_equal(madn.deblur(picture, KEEPING), picture.convert("RGBA"))


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_a_pil_image_is_turned_upright(mode):
    deep = mode == "I;16"
    pixels = noise(9, 14, kind=np.uint16) if deep else np.asarray(Image.fromarray(noise(9, 14, 3)).convert(mode))
    picture = Image.fromarray(pixels)
    picture.getexif()[0x0112] = 6  # to be turned clockwise
    np.testing.assert_array_equal(madn.deblur(picture, KEEPING), np.rot90(pixels, -1))


def test_a_model_is_loaded_once_for_its_settings_and_its_place(monkeypatch, tmp_path):
    asked = []

    def load(model, precision, trust_model):
        asked.append((model, precision, trust_model))
        return SimpleNamespace(restorer=lambda *settings: asked.append(settings) or INVERTING)

    monkeypatch.setattr(runtimes, "load", load)
    restoration._restorer.cache_clear()
    image = noise(5, 6, 3)
    for _ in range(2):
        np.testing.assert_array_equal(madn.deblur(image), 255 - image)
        madn.deblur(image, Path("run"), memory_gb=2, tile=64, precision="bfloat16", ensemble=True, scale=0.5)
    assert asked == [
        (DEFAULT, "float32", False),
        (None, None, False, None),
        (os.path.abspath("run"), "bfloat16", False),
        (2, 64, True, 0.5),
    ]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for _ in range(2):
        madn.deblur(image, "./run")
    assert asked[4:] == [(str(tmp_path / "elsewhere" / "run"), "float32", False), (None, None, False, None)]
    restoration._restorer.cache_clear()
    with pytest.raises(TypeError):
        madn.deblur(image, "madn", 2)


def python(program, *words):
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, *words, "-c", program], cwd=root, text=True, capture_output=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


@pytest.mark.process
def test_ways_to_import():
    """`import madn` alone costs nothing, and the command's module does not take the function's place."""
    out = python("""if True:
        import sys
        import madn
        heavy = {"numpy", "PIL", "cv2", "keras", "tensorflow", "torch", "tyro", "psutil"}
        print(heavy & set(sys.modules), hasattr(madn, "nothing"), dir(madn))
        try:
            import madn.deblur
        except ImportError as problem:
            print("madn.restoration.command" in str(problem))
        from madn import deblur
        print(deblur is madn.deblur, deblur.__module__)
        import numpy as np
        from madn.restoration.restorer import Restorer
        print(madn.deblur(np.full((2, 2), 9, np.uint8), Restorer(lambda batch: batch)).tolist())
        print({"keras", "tensorflow", "torch"} & set(sys.modules))
    """)
    names = ["__version__", "data", "deblur", "evaluation", "load", "nn", "recipes", "training"]
    assert out.splitlines() == [f"set() False {names}", "True", "True madn", "[[9, 9], [9, 9]]", "set()"]


@pytest.mark.process
def test_help():
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-m", "madn.deblur", "--help"], cwd=root, text=True, capture_output=True)
    assert done.returncode == 0 and done.stderr == ""
    for word in ("IN...", "-o OUT", "--overwrite", "--report", "--memory-gb", "--tile"):
        assert word in done.stdout
