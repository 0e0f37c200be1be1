"""What of a photo file a result cannot hold is refused or named; what it can, it keeps to the byte."""

import hashlib
import io
import os
import re
import struct
import threading

import cv2
import numpy as np
import pytest
import tifffile
from imaging.awkward import ICC, SIZE, exif_tags, png, scene, tags
from PIL import Image, ImageCms

from madn.errors import UserError
from madn.imaging import jpeg
from madn.imaging.decoding import Photo
from madn.imaging.guard import overheard
from madn.imaging.metadata import Metadata
from madn.imaging.photos import decode_photo, encode_photo, read_photo

NOISE = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


def read(content):
    return decode_photo(io.BytesIO(content), "photo")


def written(photo, suffix, pixels=None):
    """The content of a photo written anew, and the notes."""
    file = io.BytesIO()
    notes = encode_photo(file, f"out{suffix}", photo.pixels if pixels is None else pixels, photo)
    return file.getvalue(), notes


def tiff(*pages):
    """A TIFF of pages (pixels, options of tifffile)."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels, options in pages:
            writer.write(pixels, **options)
    return file.getvalue()


def jpg(pixels=NOISE, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **{"quality": 92} | options)
    return file.getvalue()


def segment(marker, content):
    return bytes([255, marker]) + struct.pack(">H", len(content) + 2) + content


def with_segments(content, *segments):
    """A JPEG with further segments behind its first."""
    at = 4 + int.from_bytes(content[4:6], "big")
    return content[:at] + b"".join(segments) + content[at:]


# TIFF


@pytest.mark.parametrize(
    "pixels, options, message",
    [
        (scene(5), {"photometric": "rgb", "extrasamples": [0, 0]}, "has 2 channels beside its colours"),
        (
            scene(4),
            {"photometric": "rgb", "extrasamples": [0], "compression": "zlib"},
            "has a channel beside its colours that is not said to be transparency",
        ),
        (scene(6), {"photometric": "rgb", "extrasamples": [1, 0, 0]}, "has 3 channels beside its colours"),
        (scene(5), {"photometric": "separated", "extrasamples": [0]}, "has a channel beside"),
        (scene(1)[..., 0].astype(np.int16), {}, "signed images are not read"),
        (scene(1)[..., 0].astype(np.int32), {}, "signed images are not read"),
    ],
)
def test_tiff_samples_that_would_be_lost_are_refused(pixels, options, message):
    with pytest.raises(UserError, match=f"^photo: {message}.*; save it"):
        read(tiff((pixels, options)))


def test_the_photo_in_a_subifd_is_not_its_thumbnail():
    rgb, small = {"photometric": "rgb"}, scene()[::4, ::4]
    for order, big in (("<", False), (">", False), ("<", True)):
        file = io.BytesIO()
        with tifffile.TiffWriter(file, byteorder=order, bigtiff=big) as writer:
            writer.write(small, subfiletype=1, subifds=2, **rgb)
            writer.write(small, subfiletype=1, **rgb)
            writer.write(scene(), subfiletype=0, **rgb)
        with pytest.raises(UserError, match="^photo: its photo stands behind a thumbnail .in a SubIFD"):
            read(file.getvalue())
    pyramid = tiff((scene(), {**rgb, "subifds": 1}), (small, {**rgb, "subfiletype": 1}))
    np.testing.assert_array_equal(read(pyramid).pixels, scene())
    assert read(pyramid).notes == ()


def test_a_tiffs_mask_and_layers_are_named():
    mask = tiff(
        (scene(), {"photometric": "rgb", "extratags": [(37724, 7, 4, b"8BIM", True)]}),
        ((scene(1)[..., 0] > 99).astype(np.uint8) * 255, {"subfiletype": 1}),
    )
    at = mask.rindex(struct.pack("<HHII", 254, 4, 1, 1)) + 8
    mask = mask[:at] + b"\4" + mask[at + 1 :]
    assert read(mask).notes == (
        "its layers are left out: the flattened picture is restored",
        "its transparency mask is left out",
    )


# PNG

CHRM = [31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000]  # Adobe RGB's
GAMMA22, SRGB_GAMMA = (struct.pack(">I", value) for value in (45470, 45455))


@pytest.mark.parametrize(
    "chunks, has_profile",
    [
        ([(b"cICP", bytes([9, 1, 0, 1]))], True),
        ([(b"cICP", bytes([1, 13, 0, 1]))], False),
        ([(b"cICP", bytes([2, 2, 0, 1]))], False),
        ([(b"gAMA", SRGB_GAMMA)], False),
        ([(b"gAMA", b"\0\0\0\0")], False),
        ([(b"gAMA", struct.pack(">I", 100000))], True),
        ([(b"gAMA", GAMMA22), (b"cHRM", struct.pack(">8I", *CHRM))], True),
        ([(b"sRGB", b"\0"), (b"gAMA", GAMMA22), (b"cHRM", struct.pack(">8I", *CHRM))], False),
    ],
)
def test_a_pngs_own_words_for_its_colours_become_a_profile(chunks, has_profile):
    for channels, colour in ((3, 2), (1, 0)):
        photo = read(png(scene(channels), colour, 8, *chunks))
        profile = photo.metadata.icc
        assert bool(profile) == (
            has_profile if channels == 3 or chunks[0][0] != b"gAMA" else len(chunks) < 2 and has_profile
        )
        for suffix in (".png", ".jpg", ".tif"):
            assert read(written(photo, suffix)[0]).metadata.icc == profile


def test_cicp_of_display_p3_shows_the_right_colour():
    red = np.full((4, 4, 3), (255, 0, 0), np.uint8)
    icc = read(png(red, 2, 8, (b"cICP", bytes([12, 13, 0, 1])))).metadata.icc
    transform = ImageCms.buildTransform(io.BytesIO(icc), ImageCms.createProfile("sRGB"), "RGB", "RGB", 1)
    grey = ImageCms.applyTransform(Image.new("RGB", (1, 1), (120, 120, 120)), transform).getpixel((0, 0))
    skin = ImageCms.applyTransform(Image.new("RGB", (1, 1), (200, 150, 120)), transform).getpixel((0, 0))
    assert grey == (120, 120, 120) and skin == pytest.approx((209, 148, 114), abs=1)


@pytest.mark.parametrize(
    "codes, message",
    [
        ((9, 18, 0, 1), r"HDR's \(HLG\)"),
        ((1, 16, 0, 1), r"HDR's \(PQ\)"),
        ((12, 13, 0, 0), "cICP 12, 13, 0, 0"),
        ((10, 13, 0, 1), "are not read"),
    ],
)
def test_colours_that_no_profile_holds_are_refused(codes, message):
    with pytest.raises(UserError, match=f"^photo: its .*{message}.*; save it"):
        read(png(scene(3, 16), 2, 16, (b"cICP", bytes(codes))))


# JPEG


def test_whole_jpegs_of_every_kind_are_read():
    for options in (
        {},
        {"progressive": True},
        {"restart_marker_rows": 1},
        {"restart_marker_blocks": 3},
        {"subsampling": 2, "optimize": True},
    ):
        assert read(jpg(**options)).pixels.shape == NOISE.shape
    cmyk = io.BytesIO()
    Image.fromarray(NOISE).convert("CMYK").save(cmyk, "JPEG")
    assert read(cmyk.getvalue()).pixels.shape == NOISE.shape
    assert read(jpg() + bytes(5000)).notes == ()
    assert read(with_segments(jpg(), segment(0xE0, b"JFXX\0\x29"))).notes == ()


@pytest.mark.parametrize("kind", ["baseline", "progressive", "restarts"])
def test_damage_before_a_good_end_is_damage(capfd, kind):
    options = {"baseline": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_rows": 1}}[kind]
    content = jpg(**options)
    middle = len(content) // 2
    zeroed = content[:middle] + bytes(900) + content[middle + 900 :]
    bad = [
        content[:middle] + b"\xff\xd9",
        content[:middle] + content[middle + 900 :],
        content[:-2] + b"\x55" * 50 + b"\xff\xd9",
    ] + [zeroed] * (kind != "progressive")
    if kind == "restarts":
        rows = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", content)]
        assert len(rows) == 5
        bad += [
            content[: rows[3]] + content[rows[4] :],
            content[: rows[3] + 2] + content[rows[4] :],
        ]  # a row gone, emptied
    for damaged in bad:
        with pytest.raises(UserError, match=r"^photo: cannot be read as an image \(part of it is missing or damaged;"):
            read(damaged)
    assert capfd.readouterr() == ("", "")


def test_harmless_warnings_are_none(capfd):
    content = bytearray(jpg())
    content[content.index(b"JFIF\0") + 5] = 9  # its revision
    assert read(bytes(content)).pixels.shape == NOISE.shape
    assert capfd.readouterr() == ("", "")


def test_listening_takes_its_own_lines_only(capfd):
    with overheard(lambda line: "mine" in line) as lines:
        thread = threading.Thread(target=os.write, args=(2, b"another thread's\nmine\n"))
        thread.start()
        thread.join()
        os.write(2, b"x" * 100_000)  # more than a pipe holds waits for no one
    assert lines == ["mine\n"] and capfd.readouterr().err.startswith("another thread's\nxxx")


def test_a_jpeg_of_a_hundred_scans_is_refused():
    content = jpg(progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    with pytest.raises(UserError, match="^photo: goes over its pixels 1[0-9][0-9] times, and that often is not read"):
        read(content[:-2] + scan * 100 + b"\xff\xd9")


def long_xmp(more, whole=True):
    name = hashlib.md5(more).hexdigest().upper().encode()
    main = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
        b'xmpNote:HasExtendedXMP="' + name + b'" xmp:Rating="4"/></x:xmpmeta>'
    )
    parts = [
        segment(0xE1, jpeg.MORE_XMP_START + name + struct.pack(">II", len(more), at) + more[at : at + 40000])
        for at in range(0, len(more), 40000)
    ]
    foreign = segment(0xE1, jpeg.MORE_XMP_START + b"F" * 32 + struct.pack(">II", 3, 0) + b"abc")
    return main, with_segments(jpg(), segment(0xE1, jpeg.XMP_START + main), foreign, *parts[::-1][not whole :])


def test_extended_xmp_is_kept_in_jpeg_and_named_elsewhere():
    more = b"<x:xmpmeta>" + bytes(range(32, 127)) * 1500 + b"</x:xmpmeta>"
    main, content = long_xmp(more)
    photo = read(content)
    assert (photo.metadata.xmp, photo.metadata.more_xmp, photo.notes) == (main, more, ())
    result, notes = written(photo, ".jpg")
    assert notes == () and read(result).metadata == photo.metadata
    for suffix in (".png", ".tif", ".webp"):
        result, notes = written(photo, suffix)
        assert notes == ("the second part of its XMP is JPEG's alone, and the result is without",)
        assert read(result).metadata.xmp == re.sub(rb' xmpNote:Has\w+="\w+"', b"", main)
    photo = read(long_xmp(more, whole=False)[1])
    assert photo.notes == ("the second part of its XMP is not whole, and left out",)
    assert b"HasExtendedXMP" not in photo.metadata.xmp and b"Rating" in photo.metadata.xmp


def behind(picture, *more):
    """A JPEG with others behind it that a Multi-Picture index lists, each (its kind, its content)."""

    def index(place):
        entries = b"".join(
            struct.pack(">IIIHH", kind, len(content), place, 0, 0) for kind, content in ((0x030000, picture), *more)
        )
        head = struct.pack(
            ">HHHI4sHHIIHHIII", 3, 0xB000, 7, 4, b"0100", 0xB001, 4, 1, len(more) + 1, 0xB002, 7, len(entries), 50, 0
        )
        return segment(0xE2, b"MPF\0MM\0*\0\0\0\x08" + head + entries)

    return with_segments(picture, index(len(picture))) + b"".join(content for _, content in more)


def test_what_lies_behind_a_picture_is_named():
    small, video = jpg(NOISE[::4, ::4]), b"\0\0\0\x18ftypmp42" + jpg() * 2
    gain_map = with_segments(small, segment(0xE1, jpeg.XMP_START + b"<a hdrgm:Version='1.0'/>"))
    apple = with_segments(small, segment(0xE1, jpeg.XMP_START + b"<a>urn:com:apple:photo:2020:aux:hdrgainmap</a>"))
    said = "its gain map is left out: the result is the standard picture, without HDR"
    for content, notes in (
        (behind(jpg(), (0, gain_map)), [said]),
        (jpg() + gain_map, [said]),
        (behind(jpg(), (0, apple)), [said]),
        (behind(jpg(), (0x020002, jpg()), (0x020002, jpg())), ["only the first of its 3 pictures is restored"]),
        (behind(jpg(), (0x010002, small)), []),  # a preview
        (jpg() + video, ["the video behind the picture (a motion photo's) is left out"]),
        (behind(jpg(), (0, gain_map)) + video, [said, "the video behind the picture (a motion photo's) is left out"]),
    ):
        photo = read(content)
        assert photo.notes == tuple(notes) and photo.pixels.shape == NOISE.shape
        assert written(photo, ".jpg")[0].count(b"\xff\xd8\xff") == 1


def test_iptc_and_xmp_of_other_pictures_are_named():
    iptc = segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03abc")
    xmp = segment(0xE1, jpeg.XMP_START + b"<x GDepth:Format='RangeInverse'/>")
    photo = read(with_segments(jpg(), iptc, xmp))
    assert photo.notes == (
        "its IPTC records are left out",
        "its XMP, which describes further pictures, is left out with them",
    )
    assert b"GDepth" not in written(photo, ".jpg")[0]


# EXIF


def block(order, thumbnail=b""):
    """EXIF as no library writes it: every type, UTF-16 texts in the block's order, a maker's note with an offset."""
    pack = {"<": b"II*\0", ">": b"MM\0*"}[order]

    def directory(at, *entries, following=0):
        behind, place = b"", at + 2 + 12 * len(entries) + 4
        content = struct.pack(order + "H", len(entries))
        for tag, kind, count, value in entries:
            if len(value) > 4:
                where, value = place + len(behind), value + bytes(len(value) % 2)
                behind, value = behind + value, struct.pack(order + "I", where)
            content += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
        return content + struct.pack(order + "I", following) + behind

    def number(code, *values):
        return struct.pack(order + code * len(values), *values)

    camera_at, small_at = 200, 600
    text = "夏の光".encode("utf-16-le" if order == "<" else "utf-16-be")
    main = directory(
        8,
        (270, 2, 9, "Straße\0".encode() + b"\0"),
        (274, 3, 1, number("H", 6)),
        (305, 129, 5, b"fw 1\0"),
        (531, 3, 1, number("H", 2)),
        (34665, 4, 1, number("I", camera_at)),
        (40091, 1, 6, text),
        (59932, 7, 12, bytes(12)),
        following=small_at if thumbnail else 0,
    )
    camera = directory(
        camera_at,
        (33434, 5, 1, number("I", 10, 600)),
        (37380, 10, 1, number("i", -2, 6)),
        (37500, 7, 24, b"Nikon\0" + pack + number("I", 10) + bytes(range(10))),
        (37510, 7, 8 + len(text), b"UNICODE\0" + text),
        (40962, 3, 1, number("H", 128)),
        (40963, 4, 1, number("I", 96)),
        (42034, 5, 4, number("I", 24, 1, 70, 1, 0, 0, 0, 0)),
    )
    whole = (pack + number("I", 8) + main).ljust(camera_at, b"\0") + camera
    if thumbnail:
        whole = whole.ljust(small_at, b"\0")
        small = directory(
            small_at,
            (259, 3, 1, number("H", 6)),
            (513, 4, 1, number("I", small_at + 42)),
            (514, 4, 1, number("I", len(thumbnail))),
        )
        whole += small + thumbnail
    return whole


@pytest.mark.parametrize("order", "<>")
def test_exif_is_kept_to_the_byte(order):
    thumbnail = jpg(NOISE[:12, :16])
    plain, full = block(order), block(order, thumbnail)
    expected = bytearray(plain)
    for tag, value in (
        (274, struct.pack(order + "HH", 1, 0)),
        (40962, struct.pack(order + "HH", 96, 0)),
        (40963, struct.pack(order + "I", 128)),
    ):  # upright, it is as high as it was wide
        at = expected.index(struct.pack(order + "H", tag))
        expected[at + 8 : at + 12] = value
    for stored in (plain, full):
        photo = read(jpg(exif=b"Exif\0\0" + stored))
        assert photo.pixels.shape == (128, 96, 3) and photo.notes == ()
        kept = photo.metadata.exif.removeprefix(b"Exif\0\0")
        assert kept[: len(plain)] == bytes(expected) and not any(kept[len(plain) :]) and thumbnail[:20] not in kept
        for suffix in (".jpg", ".png", ".webp"):
            assert read(written(photo, suffix)[0]).metadata.exif == photo.metadata.exif
        result = written(photo, ".tif")[0]
        assert result[:2] == {"<": b"II", ">": b"MM"}[order]
        np.testing.assert_array_equal(read(result).pixels, photo.pixels)
        deep = written(photo, ".tif", photo.pixels.astype(np.uint16) * 257)[0]
        np.testing.assert_array_equal(read(deep).pixels, photo.pixels.astype(np.uint16) * 257)
        was, now = exif_tags(photo.metadata.exif), exif_tags(read(result).metadata.exif)
        assert {tag: now[tag] for tag in was} == was and len(was) == 6 and len(was[34665]) == 7


def test_a_damaged_block_is_named():
    for exif in (block("<")[:40], b"II*\0\xff\xff\0\0", b"nothing at all"):
        photo = read(jpg(exif=b"Exif\0\0" + exif))
        assert photo.metadata.exif == b"" and photo.notes == ("its EXIF is damaged and left out",)


def test_what_a_format_cannot_hold_is_named():
    photo = Photo(scene(), None, "PNG", Metadata(tags().tobytes(), ICC, b"<x/>"))
    assert written(photo, ".bmp")[1] == tuple(
        f"BMP holds no {what}, and the result is without" for what in ("EXIF", "colour profile", "XMP")
    )
    large = Photo(scene(), None, "PNG", Metadata(xmp=b"<x>" + b"y" * 70_000))
    assert written(large, ".jpg")[1] == ("its XMP is larger than the 64 KB that JPEG holds, and the result is without",)
    assert written(large, ".webp")[1] == () and read(written(large, ".webp")[0]).metadata.xmp == large.metadata.xmp


def test_the_profile_in_a_bmp_is_kept():
    rows = np.pad(scene()[::-1, :, ::-1].reshape(31, -1), ((0, 0), (0, 2))).tobytes()
    head = struct.pack("<IiiHHIIiiII", 124, 46, 31, 1, 24, 0, len(rows), 0, 0, 0, 0) + bytes(16) + b"DEBM" + bytes(48)
    head += struct.pack("<IIII", 4, 124 + len(rows), len(ICC), 0)
    content = b"BM" + struct.pack("<IHHI", 138 + len(rows) + len(ICC), 0, 0, 138) + head + rows + ICC
    photo = read(content)
    np.testing.assert_array_equal(photo.pixels, scene())
    assert photo.metadata.icc == ICC and read(content.replace(b"DEBM", b"BGRs")).metadata.icc == b""


def test_avif_comes_back_and_has_8_bits(tmp_path):
    photo = Photo(scene(), scene(1)[..., 0], "PNG", Metadata(tags().tobytes(), ICC))
    again = read(written(photo, ".avif")[0])
    assert again.format == "AVIF" and not again.lossless and again.metadata.icc == ICC
    kept = exif_tags(photo.metadata.exif)
    assert kept.pop(274) and exif_tags(again.metadata.exif) == kept
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 1.5 and again.alpha.shape == SIZE[::-1]
    if not cv2.imwrite(str(tmp_path / "deep.avif"), scene(3, 16) // 64, [cv2.IMWRITE_AVIF_DEPTH, 10]):
        pytest.skip("this OpenCV writes no AVIF")
    with pytest.raises(UserError, match=r"deep\.avif: 10 bits a channel are not read of AVIF; save it as a 16-bit PNG"):
        read_photo(tmp_path / "deep.avif")


def test_heic_comes_back_where_the_extra_is_installed():
    pytest.importorskip("pillow_heif")
    photo = Photo(scene(), scene(1)[..., 0], "PNG", Metadata(tags().tobytes(), ICC, b"<x/>"))
    again = read(written(photo, ".heic")[0])
    kept = exif_tags(photo.metadata.exif)
    assert kept.pop(274) and exif_tags(again.metadata.exif) == kept
    assert again.format == "HEIF" and not again.lossless and (again.metadata.icc, again.metadata.xmp) == (ICC, b"<x/>")
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 1.5 and again.alpha.shape == SIZE[::-1]
    file = io.BytesIO()
    Image.fromarray(scene()).save(
        file, "HEIF", quality=95, exif=tags(6).tobytes(), save_all=True, append_images=[Image.fromarray(scene())]
    )
    turned = read(file.getvalue())
    assert turned.pixels.shape == (46, 31, 3) and turned.notes == ("only the first of its 2 pictures is restored",)
