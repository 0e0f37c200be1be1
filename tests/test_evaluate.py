"""The command on pairs in the GoPro layout, with a network that undoes how the pairs were darkened."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from skimage import data

from madn import evaluate
from madn.data.images import decode
from madn.errors import UserError
from madn.evaluation import measuring, selection
from madn.evaluation.scoring import score
from madn.evaluation.selection import Selection
from madn.imaging.arrays import read_image, to_float, write_image
from madn.imaging.finding import image_files
from madn.restoration import loading, runtimes
from madn.restoration.model_source import find_model


@pytest.fixture(autouse=True)
def brightening(monkeypatch):
    """What was asked to be loaded."""
    calls = []

    def load(*arguments):
        calls.append(arguments[:4])
        recipe = SimpleNamespace(multiple=16, blur_kind="blur")
        return loading.Loaded(lambda batch: batch / np.float32(0.8), "a brightening network", recipe)

    monkeypatch.setattr(measuring, "find_model", lambda *arguments: None)
    monkeypatch.setattr(loading, "load_network", load)
    return calls


@pytest.fixture
def folder(tmp_path):
    """set/test/{s1,s2}/{blur,sharp}/*.png, three pairs of 64x80."""
    for scene, name, photo in (("s1", "1", "astronaut"), ("s1", "2", "chelsea"), ("s2", "1", "coffee")):
        sharp = to_float(getattr(data, photo)()[100:164, 100:180])
        write_image(tmp_path / f"set/test/{scene}/sharp/{name}.png", sharp)
        write_image(tmp_path / f"set/test/{scene}/blur/{name}.png", sharp * 0.8)
    return tmp_path / "set"


def test_table_json_and_pictures(folder, tmp_path, brightening, capsys):
    evaluate.main(["runs/a", "--data", str(folder), "--out", f"{tmp_path}/out", "--pictures", "2", "--which", "last"])
    assert brightening == [("runs/a", "last", None, "float32")]
    said = capsys.readouterr().out
    assert "a brightening network" in said and "3 pairs" in said and "blur kind: blur" in said
    assert "psnr restored" in said and "mean of 3" in said and "SSIM" not in said
    read = json.loads((tmp_path / "out/full.json").read_text())
    assert [image["name"] for image in read["images"]] == ["s1/1", "s1/2", "s2/1"]
    assert (read["model"], read["blur_kind"], read["protocol"]) == ("a brightening network", "blur", "full")
    assert read["command"] == (
        f"python -m madn.evaluate runs/a --data {folder} --out {tmp_path}/out --pictures 2 --which last"
    )
    assert read["mean"]["restored"]["psnr"] > read["mean"]["blurred"]["psnr"] + 10
    pictures = sorted((tmp_path / "out/pictures").rglob("*.png"))
    assert pictures == [tmp_path / f"out/pictures/full/s1/{i}.png" for i in (1, 2)]
    drawn = np.asarray(Image.open(pictures[0]))
    sharp = np.rint(read_image(folder / "test/s1/sharp/1.png") * 255)
    assert any(np.array_equal(drawn[-64:, left : left + 80], sharp) for left in range(drawn.shape[1] - 79))


def test_both_protocols_limit_and_two_folders(folder, tmp_path):
    evaluate.main(
        [
            "runs/a",
            "--blurred",
            f"{folder}/test/s1/blur",
            "--sharp",
            f"{folder}/test/s1/sharp",
            "--limit",
            "1",
            "--protocol",
            "both",
            "--crop",
            "32",
            "--seed",
            "7",
            "--out",
            f"{tmp_path}/out",
            "--pictures",
            "0",
        ]
    )
    full, crop = (json.loads((tmp_path / f"out/{name}.json").read_text()) for name in ("full", "crop"))
    assert [len(full["images"]), len(crop["images"])] == [1, 1] and crop["images"][0]["size"] == [32, 32]
    assert (crop["crop"], crop["seed"], full["crop"], full["blur_kind"]) == (32, 7, None, None)
    assert not (tmp_path / "out/pictures").exists()


def named(file):
    return [image["name"] for image in json.loads(file.read_text())["images"]]


def test_scenes_choose_pairs_before_anything_is_decoded(folder, tmp_path, brightening, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for scene, name in (("s1", "GOPR0477_11_00"), ("s2", "GOPR0477_11_00_AVG11")):
        (folder / "test" / scene).rename(folder / "test" / name)
    for scene in ("b", "c/d"):
        for kind, brightness in (("blur", 0.4), ("sharp", 0.5)):
            write_image(folder / f"test/{scene}/{kind}/1.png", np.full((32, 32, 3), brightness, np.float32))
    (folder / "test/b/blur/2.png").write_bytes(b"broken")
    (folder / "test/b/sharp/2.png").write_bytes(b"broken")
    common = ["runs/a", "--data", str(folder), "--pictures", "0"]
    both = ["GOPR0477_11_00/1", "GOPR0477_11_00/2", "GOPR0477_11_00_AVG11/1"]
    places = {}
    for asked in ("GOPR0477_11_00", "GOPR0477_11_00_AVG11"):  # each is the scene with its variant
        evaluate.main([*common, "--scenes", asked])
        places[asked] = tmp_path / f"runs/evaluation/runs/a/set-test-blur-{asked}/full.json"
        assert named(places[asked]) == both and json.loads(places[asked].read_text())["scenes"] == [asked]
    evaluate.main([*common, "--scenes", "GOPR0477_11_00", "--every", "2", "--out", "few"])
    assert named(tmp_path / "few/full.json") == both[::2]
    evaluate.main([*common, "--scenes", "b, GOPR0477_11_00", "--skip-bad"])  # all that there are
    file = tmp_path / "runs/evaluation/runs/a/set-test-blur-GOPR0477_11_00+b/full.json"
    assert named(file) == [*both, "b/1"] and len(json.loads(file.read_text())["left_out"]) == 2
    evaluate.main(
        [
            "runs/a",
            "--blurred",
            str(folder / "test/c/d/blur"),
            "--sharp",
            str(folder / "test/c/d/sharp"),
            "--pictures",
            "0",
            "--out",
            "without",
        ]
    )
    assert json.loads((tmp_path / "without/full.json").read_text())["scenes"] is None
    many, others = (
        Selection(data="set", scenes=",".join(f"scene{i:03}" for i in range(first, 240))).folder_name()
        for first in (0, 1)
    )
    assert many.startswith("set-test-blur-240-scenes-") and many != others
    asked = len(brightening)
    for arguments, message in (
        ([*common, "--scenes", "b,x"], "^--scenes: scene 'x' is not here; there is GOPR0477_11_00, b$"),
        (["runs/a", "--photos", str(folder), "--scenes", "b"], "^--scenes b: photographs have no scenes; leave"),
        (
            [
                "runs/a",
                "--blurred",
                str(folder / "test/b/sharp"),
                "--sharp",
                str(folder / "test/b/sharp"),
                "--scenes",
                "b",
            ],
            "^--scenes: scene 'b' is not here; there is none$",
        ),
    ):
        with pytest.raises(UserError, match=message):
            evaluate.main(arguments)
    assert len(brightening) == asked


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Four photographs, one too small for a pair of 64 pixels and its margin."""
    monkeypatch.setattr(selection, "WINDOW", 64)
    for name, photo, side in (
        ("a.png", data.astronaut(), 140),
        ("deep/b.jpg", data.coffee(), 150),
        ("c.png", data.chelsea(), 120),
        ("d.png", data.rocket(), 90),
    ):
        write_image(tmp_path / "photos" / name, to_float(photo[100 : 100 + side, 100:260]))
    return tmp_path / "photos"


@pytest.mark.parametrize("blur, longest", [("shake", 24), ("camera", 32), ("video", 40)])
def test_photographs_are_blurred_alike_each_time(blur, longest, photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    common = ["runs/a", "--photos", str(photographs), "--photo-blur", blur, "--skip-bad", "--pictures", "1"]
    found = {}
    for seed, out in (("0", None), ("0", "again"), ("1", "other")):
        evaluate.main([*common, "--seed", seed, *(["--out", out] if out else [])])
        place = tmp_path / (out or f"runs/evaluation/runs/a/photos-{blur}-{longest}-seed0")
        found[out] = read = json.loads((place / "full.json").read_text())
        assert named(place / "full.json") == ["a.png", "c.png", "deep/b.jpg"]
        assert read["photo_blur"] == {"kind": blur, "longest_shake": longest, "window": 64, "seed": int(seed)}
        assert read["layout"].startswith("photographs blurred ") and read["data"] == str(photographs)
        assert len(read["left_out"]) == 1 and "d.png: 160x90 is smaller than" in read["left_out"][0]
        for image, file in zip(read["images"], ("a.png", "c.png", "deep/b.jpg.png")):
            images = [read_image(place / "pairs" / kind / file) for kind in ("blurred", "sharp")]
            assert images[0].shape == (64, 64, 3)
            assert image["blurred"]["psnr"] == score(*images).psnr < 60  # what lies there is what was measured
        assert len(image_files(place / "pairs")) == 6 and len(image_files(place / "pictures")) == 1
    scores = {out: [image["blurred"] for image in read["images"]] for out, read in found.items()}
    assert scores[None] == scores["again"] and scores[None] != scores["other"]
    assert [image["restored"] for image in found[None]["images"]] == [
        image["restored"] for image in found["again"]["images"]
    ]
    assert "3 pairs of" in (said := capsys.readouterr().out) and "left out: " in said
    evaluate.main(["runs/a", "--photos", str(photographs), "--pictures", "0"])
    read = json.loads((tmp_path / "runs/evaluation/runs/a/photos/full.json").read_text())
    assert (read["layout"], read["photo_blur"], len(read["images"])) == ("sharp photographs", None, 4)
    assert read["mean"]["blurred"]["psnr"] == "inf"


def test_every_and_held_photographs_keep_the_pairs_of_their_numbers(photographs, tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr("madn.data.images.decode", lambda path: decoded.append(path) or decode(path))
    common = ["runs/a", "--photos", str(photographs), "--photo-blur", "video", "--skip-bad", "--pictures", "0"]
    evaluate.main([*common, "--out", f"{tmp_path}/all"])
    evaluate.main([*common, "--out", f"{tmp_path}/some", "--every", "2"])
    scores = {
        out: {
            image["name"]: image["blurred"]
            for image in json.loads((tmp_path / out / "full.json").read_text())["images"]
        }
        for out in ("all", "some")
    }
    assert scores["some"] == {name: scores["all"][name] for name in ("a.png", "deep/b.jpg")}
    # Of a, c, d and deep/b: training, whose crops are smaller than pairs, holds out c and b.
    evaluate.main([*common, "--out", f"{tmp_path}/held", "--held-photos", "2", "--longest-shake", "10"])
    assert named(tmp_path / "held/full.json") == ["c.png", "deep/b.jpg"]
    assert json.loads((tmp_path / "held/full.json").read_text())["photo_blur"]["longest_shake"] == 10
    assert len(decoded) == 3 * 4  # each once


def test_blurs_that_make_no_sense_are_named_first(folder, photographs, tmp_path, brightening):
    photos = ["--photos", str(photographs)]
    blur = [*photos, "--photo-blur", "video"]
    for arguments, message in (
        (["--data", str(folder), "--photo-blur", "video"], "^--photo-blur and --longest-shake need photographs: "),
        (["--data", str(folder), "--longest-shake", "9"], "^--photo-blur and --longest-shake need photographs: "),
        ([*photos, "--longest-shake", "9"], "^--longest-shake is of a blur: add --photo-blur shake, camera or vi"),
        ([*blur, "--longest-shake", "0"], "^--longest-shake must be above 0 and at most 256 pixels; received 0$"),
        ([*blur, "--protocol", "both"], "^--protocol both: pairs of --photo-blur are windows of 64 pixels a"),
        ([*blur, "--out", f"{photographs}/out"], "out: its pairs would be among the photographs of .* with --out$"),
        ([*blur, "--seed", "-1"], "^--seed -1: seeds are 0 or more$"),
        (
            blur,
            "d.png: 160x90 is smaller than 110x110; a window of 64 pixels and the margin of its blur need as "
            r"much \(or leave such photographs out: --skip-bad\)$",
        ),
    ):
        with pytest.raises(UserError, match=message):
            evaluate.main(["runs/a", *arguments])
    assert brightening == [] and not (tmp_path / "runs").exists()


def test_images_too_small_for_a_metric_are_left_out_before_the_model_is_loaded(folder, tmp_path, brightening, capsys):
    write_image(folder / "test/s2/blur/1.png", np.full((16, 64, 3), 0.4, np.float32))
    write_image(folder / "test/s2/sharp/1.png", np.full((16, 64, 3), 0.5, np.float32))
    common = ["runs/a", "--data", str(folder), "--pictures", "0", "--out", f"{tmp_path}/out"]
    with pytest.raises(UserError, match="s2/.*1.png: 64x16 is smaller than 18x18"):
        evaluate.main([*common, "--metrics", "cw_ssim"])
    assert brightening == []
    evaluate.main([*common, "--metrics", "cw_ssim", "--skip-bad"])
    assert named(tmp_path / "out/full.json") == ["s1/1", "s1/2"]


def test_what_changes_the_result_stands_in_the_folders_name():
    asked = [
        {"photos": "p"},
        {"photos": "p", "held_photos": 2},
        {"photos": "p", "protocol": "crop", "crop": 32},
        {"photos": "p", "protocol": "crop", "crop": 64},
        {"photos": "p", "protocol": "both", "seed": 1},
        {"blurred": "p", "sharp": "s"},
        {"blurred": "p", "sharp": "t"},
    ]
    names = {Selection(**options).folder_name() for options in asked}
    assert len(names) == len(asked)
    assert Selection(photos="p", protocol="crop").folder_name() == Selection(photos="p").folder_name() == "p"


def test_sharp_photographs_are_measured_against_themselves(folder, tmp_path, capsys):
    photos = ["--photos", f"{folder}/test"]
    evaluate.main(["runs/a", *photos, "--out", f"{tmp_path}/out", "--pictures", "0", "--limit", "2"])
    assert "2 photographs" in capsys.readouterr().out
    read = json.loads((tmp_path / "out/full.json").read_text())
    assert [image["name"] for image in read["images"]] == ["s1/blur/1.png", "s1/blur/2.png"]
    assert read["mean"]["blurred"]["psnr"] == "inf" and 5 < read["mean"]["restored"]["psnr"] < 40
    evaluate.main(["runs/a", *photos, "--out", f"{tmp_path}/out", "--pictures", "0", "--held-photos", "2"])
    read = json.loads((tmp_path / "out/full.json").read_text())
    assert [image["name"] for image in read["images"]] == ["s1/blur/2.png", "s2/blur/1.png"]
    with pytest.raises(UserError, match="or photographs"):
        evaluate.main(["runs/a", *photos, "--data", str(folder)])
    with pytest.raises(UserError, match="--held-photos needs photographs"):
        evaluate.main(["runs/a", "--data", str(folder), "--held-photos", "2"])


def test_the_ensemble_is_the_mean_of_eight_views(folder, tmp_path, monkeypatch):
    def load(*_, **__):
        """Brightens the left of what it is given, and darkens the right."""
        network = lambda batch: batch / 0.8 + np.linspace(0.1, -0.1, batch.shape[2], dtype=np.float32)[:, None]
        return loading.Loaded(network, "a slanting network", SimpleNamespace(multiple=16, blur_kind="blur"))

    monkeypatch.setattr(loading, "load_network", load)
    psnr = {}
    for options in ((), ("--ensemble",)):
        evaluate.main(["runs/a", "--data", str(folder), "--out", f"{tmp_path}/out", "--pictures", "0", *options])
        read = json.loads((tmp_path / "out/full.json").read_text())
        assert read["changed"] == ({"ensemble": True} if options else {})
        psnr[options] = read["mean"]["restored"]["psnr"]
    assert psnr[()] < 26 and psnr["--ensemble",] > 40  # the slants cancel but where a view was clipped


def test_results_of_a_run_lie_in_its_folder(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/settings.json").touch()
    evaluate.main([f"{tmp_path}/run", "--data", str(folder), "--limit", "1", "--pictures", "0"])
    assert (tmp_path / "run/evaluation/set-test-blur-limit1/full.json").is_file()


def test_bad_pairs_are_named_before_the_model_is_loaded(folder, brightening):
    broken = folder / "test/s1/blur/2.png"
    broken.write_bytes(broken.read_bytes()[:500])
    (folder / "test/s2/sharp/1.png").unlink()
    with pytest.raises(UserError) as problem:
        evaluate.main(["runs/a", "--data", str(folder)])
    lines = str(problem.value).splitlines()
    assert len(lines) == 2 and any("2.png: cannot be read" in line for line in lines)
    assert any("s2/blur/1.png: no partner" in line for line in lines)
    for arguments, message in (
        (["--crop", "65", "--protocol", "crop"], "80x64 is smaller than 65x65"),
        (["--limit", "0"], "--limit 0"),
        (["--blur-kind", "blur_gamma"], "blur_gamma"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate.main(["runs/a", "--data", str(folder), *arguments])
    with pytest.raises(UserError, match="--data DIR, or --blurred DIR and --sharp DIR"):
        evaluate.main(["runs/a", "--blurred", str(folder)])
    assert brightening == []


def test_bad_pairs_can_be_left_out(folder, tmp_path, capsys):
    (folder / "test/s2/sharp/1.png").unlink()
    evaluate.main(["runs/a", "--data", str(folder), "--skip-bad", "--out", f"{tmp_path}/out", "--pictures", "0"])
    read = json.loads((tmp_path / "out/full.json").read_text())
    assert len(read["images"]) == 2 and len(read["left_out"]) == 1
    assert "left out: " in capsys.readouterr().out


def test_tables_beside_results(folder, tmp_path, monkeypatch, brightening, capsys):
    monkeypatch.chdir(tmp_path)
    evaluate.main(["--table"])
    empty = capsys.readouterr().out
    assert all(f"{name}: " in empty for name in ("MADN", "SIS-Net", "Structures Guided", "MSR2B", "EGNet"))
    assert "30.18" in empty and "0.0177 by table 4" in empty and "[1]" not in empty
    assert empty.splitlines()[-1].startswith("No measured cell") and "MODEL --data GOPRO --split test" in empty
    (folder / "test/s1").rename(folder / "test/GOPR0384_11_00")
    evaluate.main(["runs/a", "--data", str(folder), "--pictures", "0", "--out", "runs/a/test"])
    read = json.loads((tmp_path / "runs/a/test/full.json").read_text())
    (tmp_path / "runs/a/test/full.json").write_text(json.dumps({**read, "recipe": "madn"}))
    capsys.readouterr()
    evaluate.main(["--table", "madn"])  # what madn.evaluate writes is what it reads
    said = capsys.readouterr().out
    assert f"{read['mean']['restored']['psnr']:.2f}" in said and read["command"] in said and "SIS-Net" not in said
    evaluate.main(["--table", "madn", "--results", "runs/a/test/full.json"])
    assert capsys.readouterr().out == said
    for arguments, message in (
        (["--table", "mdan"], "no paper 'mdan'; there is madn"),
        ([], "missing MODEL"),
        (["--results", "runs"], "--results is of --table"),
        (["runs/a", "--table"], "leave out MODEL"),
        (["--table", "--skip-bad", "--data", "x"], "leave out --data, --skip-bad"),
        (["--table", "--results", "gone"], "gone: no such folder or file"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate.main(arguments)
    assert len(brightening) == 1


@pytest.mark.process
def test_tables_start_neither_keras_nor_tensorflow():
    code = (
        "import sys; from madn import evaluate; evaluate.main(['--table', 'egnet', '--results']); "
        "assert not {'keras', 'tensorflow', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "name, says",
    [("deconvolution-fitted", "the sharp image was used"), ("deconvolution-blind", "found in the blurred image alone")],
)
def test_traditional_references_are_measured_like_a_network(
    name, says, folder, tmp_path, brightening, monkeypatch, capsys
):
    monkeypatch.setattr(runtimes, "start_keras", lambda: pytest.fail("needs no network"))
    evaluate.main([name, "--data", str(folder), "--out", f"{tmp_path}/out", "--pictures", "1"])
    assert brightening == [] and "mean of 3" in capsys.readouterr().out
    read = json.loads((tmp_path / "out/full.json").read_text())
    assert read["model"].startswith(f"{name}: ") and says in read["model"]
    assert (read["recipe"], read["parameters"], read["blur_kind"], len(read["images"])) == (None, None, "blur", 3)
    assert len(list((tmp_path / "out/pictures").rglob("*.png"))) == 1
    for options in (["--which", "last"], ["--ensemble"]):
        with pytest.raises(UserError, match="leave --which, --recipe and --ensemble out"):
            evaluate.main([name, "--data", str(folder), *options])


def test_measurements_that_differ_lie_in_different_folders(folder, tmp_path, brightening, monkeypatch):
    """Models of one name, their other checkpoint and ensemble, other pairs: nothing is written over."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, tmp_path / "deeper" / folder.name)
    for model, *options in (
        ["A/checkpoints/best"],
        ["B/checkpoints/best"],
        ["A/checkpoints/best", "--ensemble"],
        ["A/checkpoints/best", "--which", "last"],
        ["A/checkpoints/best", "--limit", "1"],
        ["A/checkpoints/best", "--every", "2"],
        ["A/checkpoints/best", "--data", f"deeper/{folder.name}"],
    ):
        before = set(tmp_path.rglob("full.json"))
        data = [] if "--data" in options else ["--data", str(folder)]
        evaluate.main([model, "--pictures", "0", *data, *options])
        assert len(set(tmp_path.rglob("full.json")) - before) == 1, options


def test_a_folder_is_told_from_a_reference_of_its_name_by_its_path(folder, tmp_path, brightening, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deconvolution-blind").mkdir()
    evaluate.main(["./deconvolution-blind", "--data", str(folder), "--pictures", "0"])
    assert brightening == [("./deconvolution-blind", "best", None, "float32")]


def test_an_unknown_model_is_told_the_references(folder, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "find_model", find_model)
    monkeypatch.setattr(runtimes, "start_keras", lambda: pytest.fail("too late"))
    with pytest.raises(
        UserError, match=r"no published weights of that name.* \(without a network: deconvolution-fitted, deconvolution"
    ):
        evaluate.main(["deconvolution-blnd", "--data", str(folder)])
    with pytest.raises(UserError, match=r"neither a run folder .*\)$"):
        evaluate.main([str(folder), "--data", str(folder)])
    with pytest.raises(SystemExit):
        evaluate.main(["--help"])
    assert "deconvolution-fitted" in capsys.readouterr().out
