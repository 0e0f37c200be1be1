"""Studies with doors that note what they are asked and leave what a run leaves."""

import csv
import json
import os
import time

import numpy as np
import pytest
from skimage import data

from madn import evaluate, train
from madn.errors import UserError
from madn.imaging.arrays import read_image, to_float, write_image
from madn.notebook import study
from madn.notebook.study import Study, read_pair, scores, spread

MEAN = {
    "blurred": {"psnr": 24.1449, "ssim": 0.71234, "ssim_matlab": 0.8},
    "restored": {"psnr": 25.5551, "ssim": 0.75, "ssim_matlab": 0.81236},
}


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """A folder checkout/notebooks to work in, with pairs two folders above it."""
    for variable in ("MADN_SCALE", "MADN_DATA", "MADN_VGG", "MADN_RUNS", "MADN_REALBLUR"):
        monkeypatch.delenv(variable, raising=False)
    for name in "abc":
        sharp = to_float(data.astronaut()[100:164, 100:180])
        write_image(tmp_path / f"GOPRO/test/scene/sharp/{name}.png", sharp)
        write_image(tmp_path / f"GOPRO/test/scene/blur/{name}.png", sharp * 0.8)
    (tmp_path / "checkout/notebooks").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "checkout/notebooks")
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """The command lines of both doors; training leaves a log, evaluation its JSON."""
    commands = []

    def train_door(argv):
        commands.append(argv)
        print("progress")
        folder = study.Path(argv[argv.index("--run") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "log.csv").open("w", newline="") as file:
            log = csv.DictWriter(file, ["step", "val_psnr", "val_blurred_psnr"])
            log.writeheader()
            log.writerows(
                {"step": step, "val_psnr": psnr, "val_blurred_psnr": 24.5}
                for step, psnr in ((60, 24.75), (120, 24.625))
            )

    def evaluate_door(argv):
        commands.append(argv)
        folder = study.Path(argv[argv.index("--out") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        protocol = argv[argv.index("--protocol") + 1] if "--protocol" in argv else "full"
        (folder / f"{protocol}.json").write_text(
            json.dumps({"mean": MEAN, "images": [0, 0], "crop": None, "layout": "GoPro", "blur_kind": "blur"})
        )

    monkeypatch.setattr(train, "main", train_door)
    monkeypatch.setattr(evaluate, "main", evaluate_door)
    return commands


def test_a_run_is_trained_once_by_the_command_that_is_printed(asked, capsys):
    here = Study("madn", narrow="--widths 8 16 32 --crop 64")
    for _ in range(2):
        assert here.train("fig9a", "madn-fig9a", "--seed", 3) == "runs/madn-hand-GOPRO/fig9a"
    said = capsys.readouterr().out
    [command] = asked
    assert command == [
        "--recipe",
        "madn-fig9a",
        "--data",
        "../../GOPRO",
        "--steps",
        "240",
        "--round-steps",
        "60",
        "--widths",
        "8",
        "16",
        "32",
        "--crop",
        "64",
        "--seed",
        "3",
        "--run",
        "runs/madn-hand-GOPRO/fig9a",
        "--resume",
    ]
    assert said.count("$ python -m madn.train " + " ".join(command)) == 2
    assert (
        said.count(
            "step 120; best held-out crops 24.75 dB (blurred 24.50 dB) at step 60; runs/madn-hand-GOPRO/fig9a/log.csv"
        )
        == 2
    )
    assert "progress" not in said and "progress" in study.Path("runs/madn-hand-GOPRO/fig9a/train.log").read_text()
    here.train("fig9a", "madn-fig9a", "--seed", 4)  # another command: the door decides
    assert len(asked) == 2


def test_a_run_that_fails_is_tried_again(asked, monkeypatch):
    here = Study("madn")

    def fail(argv):
        raise UserError("no space left")

    working = train.main
    monkeypatch.setattr(train, "main", fail)
    with pytest.raises(UserError, match="no space left"):
        here.train("a", "madn-fig9a")
    monkeypatch.setattr(train, "main", working)
    here.train("a", "madn-fig9a")
    assert len(asked) == 1


def test_a_stopped_run_stops_the_notebook(monkeypatch, asked):
    monkeypatch.setattr(train, "main", lambda argv: 130)
    with pytest.raises(KeyboardInterrupt, match="madn.train"):
        Study("madn").train("a", "madn-fig9a")


def test_measuring_a_run_of_the_study_and_another_model(asked):
    here = Study("madn")
    run = here.train("a", "madn-fig9a")
    assert here.measure(run)["file"] == "runs/madn-hand-GOPRO/a/test/full.json"
    assert here.measure("runs/compare/madn-budget")["file"] == "runs/shared-hand-GOPRO/madn-budget/test/full.json"
    assert asked[1] == [
        run,
        "--data",
        "../../GOPRO",
        "--split",
        "test",
        "--limit",
        "8",
        "--which",
        "last",
        "--pictures",
        "0",
        "--out",
        "runs/madn-hand-GOPRO/a/test",
    ]
    assert here.measure("madn-small", protocol="crop")["file"] == "runs/shared-hand-GOPRO/madn-small/crops/crop.json"
    assert asked[-1][asked[-1].index("--protocol") + 1] == "crop"
    weights = here.folder / "mean.weights.h5"  # made by a notebook: a file is no folder to write into
    weights.touch()
    assert here.measure(weights)["file"] == "runs/madn-hand-GOPRO/others/mean.weights.h5/test/full.json"


def test_full_scale_takes_the_recipes_as_they_are(asked, monkeypatch):
    monkeypatch.setenv("MADN_SCALE", "full")
    here = Study("madn", scale="tiny", narrow="--widths 8 16 32")
    run = here.train("a", "madn-fig9a")
    here.measure(run)
    assert asked[0] == [
        "--recipe",
        "madn-fig9a",
        "--data",
        "../../GOPRO",
        "--validation",
        "none",
        "--run",
        run,
        "--resume",
    ]
    assert "--limit" not in asked[1] and len(here.pairs) == 3
    assert here.choose(tiny=1, hand=2, full=3) == 3


def test_the_environment_takes_precedence(workplace, monkeypatch):
    monkeypatch.setenv("MADN_SCALE", "tiny")
    monkeypatch.setenv("MADN_DATA", str(workplace / "GOPRO"))
    monkeypatch.setenv("MADN_RUNS", "elsewhere")
    here = Study("msr2b", scale="hand", data="nowhere", runs="runs")
    assert (here.scale, here.steps, len(here.pairs)) == ("tiny", 4, 1)
    assert here.folder.as_posix() == "elsewhere/msr2b-tiny-GOPRO"


@pytest.mark.slow
def test_without_gopro_beside_the_checkout_the_samples_serve(workplace, monkeypatch):
    monkeypatch.setenv("MADN_CACHE", str(workplace / "cache"))
    (workplace / "GOPRO").rename(workplace / "OTHER")
    here = Study("madn", scale="tiny")
    assert here.data == "samples" and here.folder.name == "madn-tiny-samples" and "astronaut" in here.pairs[0].name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "huge"}, "scale 'huge' is unknown: it is one of tiny, hand, full"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(UserError, match=message):
        Study("madn", **options)


def test_vgg_from_a_folder(asked, workplace):
    (workplace / "vgg").mkdir()
    with pytest.raises(UserError, match=r"vgg: holds no vgg16\*\.h5"):
        Study("sisnet", vgg="../../vgg").train("a", "sisnet")
    (workplace / "vgg/vgg16_float16.h5").touch()
    here = Study("sisnet", vgg="../../vgg")
    here.train("a", "sisnet")
    assert asked[0][asked[0].index("--vgg-weights") + 1] == "../../vgg/vgg16_float16.h5"
    here.train("b", "madn-fig9a")
    assert "--vgg-weights" not in asked[1]


def test_random_vgg_where_none_can_be_had_and_said_once(asked, monkeypatch, capsys):
    def missing(self):
        raise UserError("no network")

    monkeypatch.setattr("baselines.sisnet.recipe.SISNetRecipe.perceptual", missing)
    here = Study("sisnet")
    monkeypatch.setattr(here, "_random_vgg", lambda network: f"random/{network}.h5")
    here.train("a", "sisnet")
    here.train("b", "sisnet-nosis")
    assert all(command[command.index("--vgg-weights") + 1] == "random/vgg16.h5" for command in asked)
    assert capsys.readouterr().out.count("note: VGG16 weights can neither be downloaded nor were they given") == 1
    monkeypatch.setenv("MADN_SCALE", "full")
    with pytest.raises(UserError, match="no network"):
        Study("sisnet").train("a", "sisnet")


def test_photographs_beside_the_data_or_blurred_pairs(workplace, capsys):
    here = Study("madn")
    assert list(here.photographs(count=2)) == ["scene/a", "scene/c"]
    assert "no real blurred photographs" in capsys.readouterr().out
    write_image(workplace / "real_blurred/street.png", np.full((32, 40, 3), 0.5, "float32"))
    [(name, image)] = here.photographs().items()
    assert name == "street" and image.shape == (32, 40, 3) and image.dtype == np.float32


def test_what_a_notebook_measures_is_kept():
    kept = Study("egnet").write("hsic", {"with EGN": 1.25})
    assert kept == {"with EGN": 1.25, "file": "runs/egnet-hand-GOPRO/hsic.json"}
    assert json.loads(study.Path(kept["file"]).read_text()) == {"with EGN": 1.25}


@pytest.mark.slow
def test_a_restored_image_keeps_size_and_range(workplace):
    image = read_image(workplace / "GOPRO/test/scene/blur/a.png")
    restored = Study("madn").restored("madn-small", image)
    assert restored.shape == image.shape and restored.dtype == np.float32
    assert 0 <= restored.min() and restored.max() <= 1 and np.abs(restored - image).max() > 1e-3


def test_what_read_other_weights_is_made_again(asked):
    here = Study("egnet")
    backbone = here.train("backbone", "egnet-backbone")
    weights = study.RunFolder(backbone).generator("last")
    weights.parent.mkdir()
    weights.touch()
    for _ in range(2):
        here.measure(backbone)
        here.train("egn", "egnet-nosen", "--weights", weights)
    assert len(asked) == 3
    study.Path("runs/egnet-hand-GOPRO/egn/old").touch()
    os.utime(weights, (time.time() + 60, time.time() + 60))
    here.measure(backbone)
    here.train("egn", "egnet-nosen", "--weights", weights)
    assert len(asked) == 5 and not study.Path("runs/egnet-hand-GOPRO/egn/old").exists()


def test_few_pairs_are_spread_over_the_set(asked, monkeypatch):
    monkeypatch.setitem(study.SCALES, "hand", study.Scale(4, 2))
    here = Study("madn")
    assert (here.every, [pair.name for pair in here.pairs]) == (1, ["scene/a", "scene/b"])
    monkeypatch.setitem(study.SCALES, "hand", study.Scale(4, 1))
    here = Study("madn")
    here.measure("madn-small")
    assert here.every == 3 and ["--every", "3", "--limit", "1"] == asked[0][5:9]


def test_realblur_is_measured_beside_the_studys_own_pairs(asked, workplace, monkeypatch):
    image = np.full((32, 40, 3), 0.5, "float32")
    for which in ("RealBlur-J_ECC", "RealBlur-R_BM3D"):
        for number in (1, 2, 3):
            for kind in ("gt", "blur"):
                write_image(workplace / f"real/{which}/scene001/{kind}/{kind}_{number}.png", image)
    assert Study("egnet").on_realblur() == []
    monkeypatch.setitem(study.SCALES, "hand", study.Scale(4, 2))
    here = Study("egnet", realblur="../../real")
    run = here.train("a", "egnet-nosen")
    places = [each.measure(model)["file"] for each in (here, *here.on_realblur()) for model in (run, "madn-small")]
    own, shared = "runs/egnet-hand-GOPRO/a", "runs/shared-hand"
    assert places == [
        f"{own}/test/full.json",
        f"{shared}-GOPRO/madn-small/test/full.json",
        f"{own}/test-RealBlur-J_ECC/full.json",
        f"{shared}-RealBlur-J_ECC/madn-small/test-RealBlur-J_ECC/full.json",
        f"{own}/test-RealBlur-R_BM3D/full.json",
        f"{shared}-RealBlur-R_BM3D/madn-small/test-RealBlur-R_BM3D/full.json",
    ]
    command = asked[3]  # behind the training and two measurements of the study's own pairs
    assert command[:5] == [run, "--data", "../../real/RealBlur-J_ECC", "--split", "test"]
    assert command[5:7] == ["--limit", "2"] and "last" in command
    assert [pair.name for pair in here.on_realblur()[1].pairs] == ["scene001/1", "scene001/2"]
    monkeypatch.setenv("MADN_REALBLUR", str(workplace / "real/RealBlur-R_BM3D"))
    assert [each.data for each in Study("egnet").on_realblur()] == [str(workplace / "real/RealBlur-R_BM3D")]
    with pytest.raises(UserError, match="GOPRO: laid out as GoPro is, not as RealBlur"):
        monkeypatch.delenv("MADN_REALBLUR")
        Study("egnet", realblur="../../GOPRO")


def test_a_table_is_of_one_set_of_pairs():
    result = {"mean": MEAN, "images": [0], "crop": None, "layout": "GoPro", "blur_kind": "blur", "file": "a.json"}
    with pytest.raises(ValueError, match="one set of pairs"):
        scores({"A": result, "B": {**result, "crop": 64}})


def test_longer_trained_runs_only_where_they_are(workplace, capsys):
    here = Study("madn")
    assert here.finished("runs/compare/madn-budget") == {}
    weights = study.Path("runs/compare/madn-budget/checkpoints/best.weights.h5")
    weights.parent.mkdir(parents=True)
    weights.touch()
    run = study.RunFolder("runs/compare/madn-budget")
    run.write_settings({"recipe": "madn-budget", "fields": {}, "data": {}, "pairs": {"train": "84 pairs"}})
    run.add_row({"step": 1, "seconds": 1803})
    assert here.finished("runs/compare/madn-budget", "runs/compare/b") == {"madn-budget": "runs/compare/madn-budget"}
    assert "madn-budget: trained 30 minutes on 84 pairs; runs/compare/madn-budget" in capsys.readouterr().out


def test_table_of_scores():
    result = {"mean": MEAN, "images": [0, 0], "crop": None, "layout": "GoPro", "blur_kind": "blur", "file": "a.json"}
    lines = [" ".join(line.split()) for line in scores({"A": result}).splitlines()]
    assert lines[0] == "| method | PSNR in dB | `ssim` | `ssim_matlab` | from |"
    assert lines[2] == "| blurred input | 24.14 | 0.7123 | 0.8000 | `a.json` |"
    assert lines[3] == "| A | 25.56 | 0.7500 | 0.8124 | `a.json` |"
    assert lines[-1] == "Mean of 2 test pairs, whole images, blur kind `blur`."


def test_spread_and_read_pair():
    assert spread(list(range(10)), 4) == [0, 3, 6, 9] and spread([1], 4) == [1] and spread([1, 2, 3], 1) == [1]
    blurred, sharp = read_pair(Study("madn").pairs[0])
    assert np.allclose(blurred, sharp * 0.8, atol=0.003)
