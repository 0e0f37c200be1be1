import io
import os
import random
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from imaging import awkward
from imaging.awkward import ARTIST, ARTIST_TAG, ICC, SIZE, exif_tags, scene, tags
from PIL import ExifTags, Image, ImageCms, ImageOps

from madn.data.images import decode
from madn.errors import UserError
from madn.imaging import jpeg
from madn.imaging.arrays import read_image
from madn.imaging.decoding import Photo
from madn.imaging.formats import FORMATS
from madn.imaging.photos import check_target, read_photo, write_photo

CAMERA, PLACE = 0x8769, 0x8825


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("awkward")


@pytest.fixture(scope="module")
def files(folder):
    return awkward.make(folder)


def layers(photo: Photo) -> np.ndarray:
    return photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])


def saved(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def test_every_awkward_file_is_read_or_refused_by_name(folder, files):
    assert len(files) > 100
    for name, expected in files.items():
        if expected.refused:
            with pytest.raises(UserError) as refusal:
                read_photo(folder / name)
            message = str(refusal.value)
            assert name in message and expected.refused in message and "\n" not in message, message
            continue
        photo = read_photo(folder / name)
        found = {
            "size": photo.pixels.shape[1::-1],
            "channels": photo.pixels.shape[2],
            "depth": 8 * photo.pixels.itemsize,
            "alpha": photo.alpha is not None,
            "format": photo.format,
            "icc": photo.metadata.icc,
        }
        assert found == {fact: getattr(expected, fact) for fact in found}, name
        artist = exif_tags(photo.metadata.exif).get(0x013B)
        assert not expected.artist or artist == ARTIST_TAG, name
        if expected.pixels is not None:
            np.testing.assert_array_equal(layers(photo), expected.pixels, err_msg=name)


def test_read_image_decodes_as_read_photo_does(folder, files):
    for name in ("rgba.png", "deep 3.png", "grey.tif", "turned 6.jpg"):
        photo = read_photo(folder / name)
        image = read_image(folder / name)
        assert image.dtype == np.float32 and image.shape == (*photo.pixels.shape[:2], 3)
        np.testing.assert_allclose(
            image, np.broadcast_to(photo.pixels / np.iinfo(photo.pixels.dtype).max, image.shape), atol=1e-7
        )
    for name in ("three pages.tif", "half.png"):
        with pytest.raises(UserError, match=name):
            read_image(folder / name)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".bmp", ".jpg"])
def test_every_photo_goes_through_every_format(folder, files, tmp_path, suffix):
    for name, expected in files.items():
        if expected.refused:
            continue
        photo = read_photo(folder / name)
        if suffix in (".jpg", ".bmp") and expected.alpha:
            with pytest.raises(UserError, match=rf"out\{suffix}: \w+ cannot hold the photo's transparency.*\.png"):
                write_photo(tmp_path / f"out{suffix}", photo.pixels, photo)
            continue
        write_photo(tmp_path / f"out{suffix}", photo.pixels, photo)
        again = read_photo(tmp_path / f"out{suffix}")
        wanted = layers(photo)
        if suffix not in (".png", ".tif") and expected.depth == 16:
            wanted = np.rint(wanted / 257).astype(np.uint8)
        rgb_only = suffix == ".webp" or suffix == ".tif" and expected.depth == 16 and expected.alpha
        if expected.channels == 1 and rgb_only:
            wanted = np.dstack([wanted[:, :, :1]] * 3 + [wanted[:, :, 1:]])
        assert again.format == FORMATS[suffix] and again.pixels.dtype == wanted.dtype
        if suffix == ".jpg" or suffix == ".webp" and not photo.lossless and photo.format == "WEBP":
            assert np.square(layers(again) - wanted.astype(float)).mean() < 20, name
        else:
            np.testing.assert_array_equal(layers(again), wanted, err_msg=name)
        if suffix != ".bmp":
            assert again.metadata.icc == photo.metadata.icc, name
            kept, before = exif_tags(again.metadata.exif), exif_tags(photo.metadata.exif)
            assert {tag: kept.get(tag) for tag in before} == before, name


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_metadata_is_kept_and_true(tmp_path, suffix):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6" rating="5"/></x:xmpmeta>'
    exif = tags(6)
    exif.get_ifd(0xA005)
    source = saved(tmp_path / "in.jpg", scene(), exif=exif, icc_profile=ICC, xmp=xmp, dpi=(300, 150))
    for kind in (np.uint8, np.uint16):
        photo = read_photo(source)
        write_photo(tmp_path / f"out{suffix}", photo.pixels.astype(kind), photo)
        with Image.open(tmp_path / f"out{suffix}") as out:
            assert out.size == SIZE[::-1]
            found = out.getexif()
            assert found[0x0112] == 1 and found[0x010F] == "Maker" and found[0x013B] == ARTIST
            assert found.get_ifd(CAMERA) == {0x829A: 0.004, 0xA002: SIZE[1], 0xA003: SIZE[0], 0x927C: b"maker's note"}
            assert found.get_ifd(PLACE) == {1: "N", 2: (47.0, 22.0, 30.0)}
            assert out.info["icc_profile"] == ICC
            assert out.info["xmp"] == xmp.replace(b'n="6"', b'n="1"')
            if suffix != ".webp":
                assert out.info["dpi"] == pytest.approx((300, 150), abs=0.02)


def test_thumbnails_and_what_describes_other_pictures_are_dropped(tmp_path):
    exif = tags()
    exif.endian = "<"
    first = exif.tobytes()[6:]  # its directory gets a second one behind it, of the thumbnail
    entries = int.from_bytes(first[8:10], "little")
    end = 10 + 12 * entries
    small = io.BytesIO()
    Image.new("RGB", (16, 12), "red").save(small, "JPEG")
    at = len(first) + 2 + 2 * 12 + 4
    second = (
        b"\2\0"
        + b"\1\2\4\0\1\0\0\0"
        + at.to_bytes(4, "little")
        + b"\2\2\4\0\1\0\0\0"
        + len(small.getvalue()).to_bytes(4, "little")
        + bytes(4)
    )
    exif = first[:end] + len(first).to_bytes(4, "little") + first[end + 4 :] + second + small.getvalue()
    source = saved(tmp_path / "in.jpg", scene(), exif=b"Exif\0\0" + exif, xmp=b"<x GCamera:MicroVideo='1'/>")
    with Image.open(source) as picture:
        assert picture.getexif().get_ifd(ExifTags.IFD.IFD1)[0x0202] == len(small.getvalue())
    photo = read_photo(source)
    write_photo(tmp_path / "out.jpg", photo.pixels, photo)
    content = (tmp_path / "out.jpg").read_bytes()
    assert content.count(b"\xff\xd8\xff") == 1 and b"MicroVideo" not in content and b"Maker" in content


@pytest.mark.parametrize("turned", range(1, 9))
def test_every_orientation_is_applied(tmp_path, turned):
    stored = scene()
    source = saved(tmp_path / "in.png", stored, exif=tags(turned))
    expected = {
        1: stored,
        2: np.fliplr(stored),
        3: np.rot90(stored, 2),
        4: np.flipud(stored),
        5: np.swapaxes(stored, 0, 1),
        6: np.rot90(stored, -1),
        7: np.rot90(np.swapaxes(stored, 0, 1), 2),
        8: np.rot90(stored),
    }[turned]
    np.testing.assert_array_equal(read_photo(source).pixels, expected)
    with Image.open(source) as picture:
        np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(picture)), expected)


@pytest.mark.parametrize("quality", [5, 50, 75, 95, 98, 100])
def test_jpeg_is_no_coarser_than_the_input_nor_than_quality_95(tmp_path, quality):
    with Image.open(saved(tmp_path / "floor.jpg", scene(), quality=95)) as picture:
        floor = picture.quantization
    photo = read_photo(saved(tmp_path / "in.jpg", scene(), quality=quality))
    write_photo(tmp_path / "out.jpg", photo.pixels, photo)
    with Image.open(tmp_path / "in.jpg") as before, Image.open(tmp_path / "out.jpg") as after:
        assert {(h, v) for _, h, v, _ in after.layer} == {(1, 1)}
        for index, table in after.quantization.items():
            assert (np.array(table) <= np.minimum(before.quantization[index], floor[index])).all()
    loss = np.square(read_photo(tmp_path / "out.jpg").pixels - photo.pixels.astype(float)).mean()
    assert 10 * np.log10(255**2 / loss) > 38


def test_other_programs_read_the_16_bit_files(tmp_path):
    for channels, alpha in ((1, False), (3, False), (3, True)):
        pixels, veil = scene(channels, 16), scene(1, 16)[:, :, 0] if alpha else None
        both = pixels if veil is None else np.dstack([pixels, veil])
        order = [2, 1, 0, 3][: both.shape[2]] if channels == 3 else [0]
        for suffix in (".png", ".tif"):
            write_photo(tmp_path / f"out{suffix}", pixels, Photo(pixels, veil, "PNG"))
            read = cv2.imread(str(tmp_path / f"out{suffix}"), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(read.reshape(both.shape), both[:, :, order])
        with tifffile.TiffFile(tmp_path / "out.tif") as file:
            page = file.pages[0]
            assert page.bitspersample == 16 and page.predictor == 2 and page.imagewidth == SIZE[0]
            assert page.extrasamples == ((2,) if alpha else ())
    with Image.open(tmp_path / "out.png") as picture:
        picture.verify()


def test_files_of_several_bands_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("madn.imaging.encoding.BAND", 300)
    monkeypatch.setattr("madn.imaging.decoding.BAND", 500)
    for depth in (8, 16):
        pixels, veil = scene(3, depth), scene(1, depth)[:, :, 0]
        for suffix in (".png", ".tif"):
            write_photo(tmp_path / f"out{suffix}", pixels, Photo(pixels, veil, "PNG"))
            np.testing.assert_array_equal(layers(read_photo(tmp_path / f"out{suffix}")), np.dstack([pixels, veil]))


def test_cmyk_goes_through_its_profile(folder, files):
    inked = read_photo(folder / "cmyk with profile.jpg")  # all cyan, which that profile prints red
    red, green, blue = inked.pixels.reshape(-1, 3).mean(axis=0)
    assert red > 120 and max(green, blue) < 20 and inked.metadata.icc == b""
    plain = read_photo(folder / "cmyk with broken profile.jpg")
    np.testing.assert_array_equal(plain.pixels, read_photo(folder / "cmyk.jpg").pixels)


def test_opaque_alpha_goes_to_jpeg_and_bmp(tmp_path):
    pixels = scene()
    photo = Photo(pixels, np.full(pixels.shape[:2], 255, np.uint8), "PNG")
    write_photo(tmp_path / "out.bmp", pixels, photo)
    np.testing.assert_array_equal(read_photo(tmp_path / "out.bmp").pixels, pixels)


def test_grey_profile_stays_with_grey(tmp_path):
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"GRAY"
    photo = read_photo(saved(tmp_path / "in.png", scene(1)[:, :, 0], icc_profile=bytes(profile)))
    assert photo.metadata.icc == bytes(profile)
    for suffix, kept in ((".jpg", bytes(profile)), (".webp", b"")):
        write_photo(tmp_path / f"out{suffix}", photo.pixels, photo)
        with Image.open(tmp_path / f"out{suffix}") as out:
            assert out.info.get("icc_profile", b"") == kept


def test_what_a_format_cannot_hold_is_refused_and_nothing_is_left(tmp_path):
    long = Photo(np.zeros((1, 16400, 3), np.uint8), None, "PNG")
    with pytest.raises(UserError, match=r"long\.webp: WEBP holds at most 16383"):
        write_photo(tmp_path / "long.webp", long.pixels, long)
    with pytest.raises(UserError, match=r"'\.gif' is not"):
        write_photo(tmp_path / "photo.gif", long.pixels, long)
    with pytest.raises(ValueError, match="received float32"):
        write_photo(tmp_path / "photo.png", long.pixels.astype(np.float32), long)
    assert not list(tmp_path.iterdir())


def test_exif_too_long_for_jpeg_is_left_out_there_only(tmp_path):
    exif = Image.Exif()
    exif[0x013B] = "A" * 70_000
    photo = read_photo(saved(tmp_path / "in.png", scene(), exif=exif))
    for suffix, kept in ((".jpg", False), (".png", True)):
        write_photo(tmp_path / f"out{suffix}", photo.pixels, photo)
        assert bool(read_photo(tmp_path / f"out{suffix}").metadata.exif) == kept


def test_size_is_checked_before_decoding(folder, files, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    for name in ("bomb.png", "bomb.tif"):
        with pytest.raises(UserError, match=f"{name}: says it has 60000x60000 pixels, more than the 300 megapixels"):
            read_photo(folder / name)
    with pytest.raises(UserError, match="more than the 0.001 megapixels"):
        read_photo(folder / "camera.jpg", megapixels=0.001)


def few_bytes(kind):
    """A small file that asks for much: what it is called, and its content."""
    file = io.BytesIO()
    if kind == "webp":  # One colour, in the largest size that WebP has.
        head = struct.pack("<I", 16382 | 16382 << 14)
        data = b"VP8L" + struct.pack("<I", 10) + b"\x2f" + head + b"\x07\x10\xfd\xff\xff"
        return b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WEBP" + data
    if kind == "bmp":
        head = struct.pack("<IiiHHIIiiII", 40, 6000, 6000, 1, 8, 1, 4, 0, 0, 1, 0)
        return b"BM" + struct.pack("<IHHI", 62, 0, 0, 58) + head + bytes(4) + b"\0\1\0\1"
    if kind == "tiff":
        pages = [Image.new("L", (1, 1))] * 150
        pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:], tiffinfo={254: 1})
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("webp", r"decoding its 16383x16383 pixels takes about .* GB of memory, and 3\.0 GB are left"),
        ("bmp", r"run-length compressed BMP is read up to 25 megapixels"),
        ("tiff", "has more than 100 pictures"),
    ],
)
def test_a_small_file_that_asks_for_much_is_refused(tmp_path, kind, said):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(few_bytes(kind))
    with pytest.raises(UserError, match=said):
        read_photo(path, room=3e9)


def test_more_passes_over_more_pixels_are_refused(tmp_path, monkeypatch):
    Image.fromarray(scene()).save(tmp_path / "a.jpg", progressive=True)
    read_photo(tmp_path / "a.jpg")
    monkeypatch.setattr(jpeg, "MOST_PASSED", 10 * SIZE[0] * SIZE[1] - 1)  # Pillow writes ten scans.
    with pytest.raises(UserError, match="goes over its pixels 10 times"):
        read_photo(tmp_path / "a.jpg")


def test_what_checksums_tell_is_refused(tmp_path):
    """Damage behind an intact end: libtiff does not read the checksums, and takes it for some other picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix, options in ((".png", {}), (".tif", {"compression": "tiff_adobe_deflate"})):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(pixels).save(path, **options)
        np.testing.assert_array_equal(read_photo(path).pixels, pixels)
        whole = path.read_bytes()
        for at in range(2000, 10_000, 1000):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(UserError, match="cannot be read as an image"):
                read_photo(path)


def test_a_postscript_file_by_another_name_is_no_photo(tmp_path):
    """Pillow hands it to Ghostscript; training and evaluation read by the same function."""
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    for read in (read_photo, decode):
        with pytest.raises(UserError, match="not an image"):
            read(path)


@pytest.mark.parametrize(("suffix", "each"), [(".png", 10), (".webp", 20), (".avif", 14), (".tif", 10), (".bmp", 10)])
def test_the_memory_of_decoding_is_checked_before_decoding(tmp_path, monkeypatch, suffix, each):
    """Of a photo of 6 megapixels decoding takes `each` bytes a pixel, as was measured."""
    Image.new("RGB", (300, 200)).save(tmp_path / f"photo{suffix}")
    assert read_photo(tmp_path / f"photo{suffix}", room=each * 60_000).pixels.shape == (200, 300, 3)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"decoding its 300x200 pixels takes about .* GB of memory.*--memory-gb$"):
        read_photo(tmp_path / f"photo{suffix}", room=each * 60_000 - 1)


def test_what_cannot_be_written_is_known_before_the_work():
    photo = Photo(np.zeros((100, 200, 3), np.uint8), np.zeros((100, 200), np.uint8), "PNG")
    check_target("out.png", photo, room=200_000)
    for name, room, message in (
        ("out.png", 199_999, "writing PNG of this size takes about 0.0 GB of memory.* more --memory-gb$"),
        ("out.webp", 799_999, "writing WEBP of this size .*, or write a .png or .tif$"),
        ("out.jpg", 10**9, "JPEG cannot hold the photo's transparency"),
    ):
        with pytest.raises(UserError, match=message):
            check_target(name, photo, room)


def test_pillows_own_limit_stays_out_of_the_way(folder, files, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # it would warn from 100 and refuse from 200 pixels
    for name in ("camera.jpg", "turned.tif", "alpha.webp"):
        assert read_photo(folder / name).pixels.shape[:2] in (SIZE, SIZE[::-1])
    assert Image.MAX_IMAGE_PIXELS == 100


def test_threads_leave_pillow_and_the_warnings_as_they_were(folder, files):
    filters, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    names = [name for name, expected in files.items() if not expected.refused]
    threads = [threading.Thread(target=lambda: [read_photo(folder / name) for name in names]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == filters and Image.MAX_IMAGE_PIXELS == limit


@pytest.mark.process
def test_nothing_is_printed(folder, files):
    program = """if True:
        import sys
        from madn.errors import UserError
        from madn.imaging.photos import read_photo
        for name in sys.argv[1:]:
            try:
                read_photo(name)
            except UserError:
                pass
    """
    names = [name for name in files if name != "damaged.tif"]  # of which libtiff itself speaks
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", program, *names], cwd=folder, env=env, text=True, capture_output=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_unreadable_file_is_named(tmp_path, monkeypatch):
    saved(tmp_path / "locked.png", scene())
    (tmp_path / "locked.png").chmod(0)
    if hasattr(os, "geteuid") and not os.geteuid():  # root reads it all the same
        monkeypatch.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(UserError, match=r"locked\.png: cannot be read as an image \(Permission denied\)"):
        read_photo(tmp_path / "locked.png")


def test_too_little_memory_is_no_damage(folder, files, monkeypatch):
    monkeypatch.setattr(Image.Image, "crop", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(UserError, match=r"camera\.jpg: cannot be read as an image \(not enough memory\)"):
        read_photo(folder / "camera.jpg")


def test_damaged_bytes_never_end_in_another_error(folder, files, tmp_path):
    chance = random.Random(0)
    names = [name for name in files if (folder / name).is_file() and (folder / name).stat().st_size > 100]
    read = 0
    for _ in range(600):
        content = bytearray((folder / chance.choice(names)).read_bytes())
        for _ in range(chance.choice((1, 3, 10))):
            content[chance.randrange(min(len(content), 400))] = chance.randrange(256)
        (tmp_path / "in").write_bytes(content)
        try:
            photo = read_photo(tmp_path / "in", megapixels=5)
            write_photo(tmp_path / f"out{chance.choice(list(FORMATS))}", photo.pixels, photo)
            read += 1
        except UserError as refusal:
            assert "\n" not in str(refusal)
    assert read > 60


@pytest.mark.process
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
@pytest.mark.parametrize("suffix", [".jpg", *(pytest.param(each, marks=pytest.mark.slow) for each in (".png", ".tif"))])
def test_memory_is_at_most_three_times_the_pixels(tmp_path, suffix):
    size = (6000, 4000)
    x = np.arange(size[0], dtype=np.uint16)[None, :, None] + np.arange(size[1], dtype=np.uint16)[:, None, None]
    saved(tmp_path / "in.png", np.repeat((x // 64).astype(np.uint8), 3, axis=2), compress_level=1)
    program = f"""if True:
        from pathlib import Path
        from madn.imaging.photos import read_photo, write_photo
        def peak():
            return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
        before = peak()
        photo = read_photo("in.png")
        reading = peak() - before
        write_photo("out{suffix}", photo.pixels, photo)
        read_photo("out{suffix}", megapixels=25)
        print(reading / photo.pixels.nbytes, (peak() - before) / photo.pixels.nbytes)
    """
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, text=True, capture_output=True)
    assert not run.returncode, run.stderr
    reading, both = map(float, run.stdout.split())
    assert reading < 2.7 and both < 3.7  # while the copy is read, the photo itself is there as well
