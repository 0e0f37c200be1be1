"""python -m madn.train: a short run on pictures, and one line with exit code 2 for what is wrong."""

import importlib.util
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from PIL import Image

from madn import recipes
from madn.data.sets import DataOptions
from madn.errors import UserError, run_command
from madn.models.madn.recipe import MADN
from madn.restoration.loading import load_network
from madn.system.commandline import parse_groups
from madn.train import RunOptions, _checked, _data_options, _first_look, _which_recipe, main
from madn.training.checkpoint import save_generator
from madn.training.runfolder import RunFolder

SMALL = "--widths 4 8 16 --res-blocks 1 --d-widths 4 4 4 4 8 --d-dense 8 --crop 32 --batch 2".split()


def picture(path, seed=0, size=(48, 64), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": (3,), "L": (), "RGBA": (4,)}[mode]
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, *channels), np.uint8), mode).save(path)


@pytest.fixture
def pairs(tmp_path):
    """Two scenes of three pairs in the GoPro layout."""
    root = tmp_path / "set"
    for scene in ("GOPR0001_00_00", "GOPR0002_00_00"):
        for i in range(3):
            for k, kind in enumerate(("blur", "sharp")):
                picture(root / "train" / scene / kind / f"{i:06}.png", seed=10 * i + k)
    return root


def fails(capsys, *argv):
    """The one line that the command ends with, its exit code being 2."""
    with pytest.raises(SystemExit) as stop:
        run_command(main, [str(word) for word in argv])
    said = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert said.startswith("madn: error: ") and "\n" not in said, said
    return said


@pytest.mark.process
@pytest.mark.slow
def test_a_run_resumes_where_it_was_killed_and_refuses_other_settings(pairs, tmp_path, capsys):
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "madn.train",
        "--data",
        str(pairs),
        "--run",
        str(run),
        *SMALL,
        "--adversarial-domains",
        "none",
        "--steps",
        "100000",
        "--round-steps",
        "2",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not RunFolder(run).rows() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err[-2000:]
    assert f"stopped and saved; go on with: python -m madn.train --run {run} --resume" in out

    settings = json.loads((run / "settings.json").read_text())
    assert settings["recipe"] == "madn" and settings["fields"]["widths"] == [4, 8, 16]
    assert settings["pairs"]["validation"] == ["GOPR0001_00_00/000000"]
    assert {"keras", "tensorflow", "madn"} <= set(settings["versions"]) and settings["device"] and settings["command"]

    step = int(RunFolder(run).rows()[-1]["step"])
    main(["--run", str(run), "--resume", "--steps", str(step + 4)])
    assert int(RunFolder(run).rows()[-1]["step"]) == step + 4
    assert "held-out crops" in capsys.readouterr().out

    assert "holds a run already; add --resume" in fails(capsys, "--run", run)
    assert "belongs to recipe madn, not madn-fig9a" in fails(capsys, "--run", run, "--resume", "--recipe", "madn-fig9a")
    assert "other settings: lr_g 0.0001 (asked: 0.5)" in fails(capsys, "--run", run, "--resume", "--lr-g", "0.5")


def test_bad_data_is_named_before_anything_is_written(pairs, tmp_path, capsys):
    run, scene = tmp_path / "run", pairs / "train" / "GOPR0001_00_00"
    start = ["--data", pairs, "--run", run, *SMALL]
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path}/empty: no pairs found" in fails(capsys, "--data", tmp_path / "empty", "--run", run)
    assert "no such folder" in fails(capsys, "--data", tmp_path / "nowhere", "--run", run)
    assert "--run" not in fails(capsys, *start, "--blur-kind", "blur_gamma") and not run.exists()

    sharp = scene / "sharp" / "000001.png"
    whole = sharp.read_bytes()
    sharp.unlink()
    assert str(scene / "blur" / "000001.png") in fails(capsys, *start)
    sharp.write_bytes(whole[: len(whole) // 2])
    assert str(sharp) in fails(capsys, *start)
    picture(sharp, size=(16, 16))
    picture(scene / "blur" / "000001.png", seed=5, size=(16, 16))
    assert "000001.png: 16x16" in fails(capsys, *start)
    assert not run.exists()


@pytest.mark.usefixtures("eager_steps", "networks_of_few_layers")
def test_grey_and_rgba_training_images_are_taken_and_named(pairs, tmp_path, capsys):
    scene = pairs / "train" / "GOPR0002_00_00" / "sharp"
    picture(scene / "000000.png", mode="L")
    picture(scene / "000001.png", mode="RGBA")
    main(
        ["--data", str(pairs), "--run", str(tmp_path / "run"), *SMALL, "--adversarial-domains", "none", "--steps", "1"]
    )
    said = capsys.readouterr().out
    for name in ("000000.png", "000001.png"):
        assert f"{scene / name}: " in said
    assert (tmp_path / "run" / "checkpoints" / "best.weights.h5").is_file()


@pytest.mark.usefixtures("eager_steps", "networks_of_few_layers")
def test_without_matplotlib_a_training_ends_well_and_says_that_it_drew_no_curves(pairs, tmp_path, monkeypatch, capsys):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else there(name))
    run = tmp_path / "run"
    options = [*SMALL, "--adversarial-domains", "none", "--steps", "1"]
    assert main(["--data", str(pairs), "--run", str(run), *options]) is None
    assert "no curves: matplotlib, which draws them, is not installed" in capsys.readouterr().out
    assert (run / "checkpoints" / "best.weights.h5").is_file() and not (run / "report.html").exists()


@pytest.mark.usefixtures("networks_of_few_layers")
def test_bad_settings_are_named(pairs, tmp_path, capsys):
    run = ["--run", tmp_path / "run"]
    assert "unknown recipe 'madm': did you mean madn" in fails(capsys, "--recipe", "madm", *run)
    assert "--lrr" in fails(capsys, "--data", pairs, *run, "--lrr", "3")
    assert "--crop must be a multiple of 32; received 100" in fails(capsys, "--data", pairs, *run, "--crop", "100")
    assert "--batch" in fails(capsys, "--data", pairs, *run, "--batch", "many")
    assert "--checkpoint-minutes must be 0 or more; received -1" in fails(capsys, *run, "--checkpoint-minutes", "-1")
    assert "give --data DIR, or" in fails(capsys, "--blurred", pairs, *run)
    file = tmp_path / "narrow.weights.h5"
    narrow = replace(MADN, widths=(4, 8, 16))
    save_generator(narrow.build_generator(), file, "madn", narrow.fields())
    said = fails(capsys, "--data", pairs, *run, "--widths", "8", "16", "32", "--weights", file)
    assert "narrow.weights.h5: weights of another network" in said and "[4, 8, 16] (here [8, 16, 32])" in said
    assert not (tmp_path / "run").exists()


def test_list_names_every_recipe_and_its_paper(capsys):
    main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("madn ") and "Zhu et al. 2023" in line for line in lines) and len(lines) >= 5


def test_help_explains_the_recipes_fields(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--recipe", "madn", "--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--widths INT INT INT" in said and "Channels at full, half and quarter" in said and "--resume" in said


@pytest.mark.usefixtures("eager_steps", "networks_of_few_layers")
def test_a_run_starts_from_given_weights(pairs, tmp_path):
    tiny = replace(MADN, widths=(4, 8, 16), res_blocks=1)
    file = tmp_path / "start.weights.h5"
    generator = tiny.build_generator()
    save_generator(generator, file, "madn", tiny.fields())
    main(
        [
            "--data",
            str(pairs),
            "--run",
            str(tmp_path / "run"),
            *SMALL,
            "--adversarial-domains",
            "none",
            "--steps",
            "1",
            "--lr-g",
            "0",
            "--seed",
            "5",
            "--weights",
            str(file),
        ]
    )
    trained = load_network(tmp_path / "run").model
    for mine, given in zip(trained.variables, generator.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), given.numpy())


@pytest.mark.usefixtures("networks_of_few_layers")
def test_a_loss_that_is_not_finite_stops_the_run(pairs, tmp_path, capsys):
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as stop:
        run_command(
            main,
            [
                "--data",
                str(pairs),
                "--run",
                str(run),
                *SMALL,
                "--adversarial-domains",
                "none",
                "--steps",
                "6",
                "--round-steps",
                "3",
                "--lr-g",
                "1e30",
                "--clip-norm",
                "None",
                "--validation",
                "none",
            ],
        )
    lines = capsys.readouterr().err.splitlines()[-3:]  # after the progress bar
    assert stop.value.code == 2
    assert f"madn: error: {run}: step 2: not finite: " in lines[0] and "loss" in lines[0]
    assert re.fullmatch(r"madn: error: step 2 took its crops from \S+/0\d*.png, \S+/0\d*.png", lines[1])
    assert lines[2] == (
        "madn: error: no checkpoint was saved before; look at these files, or start again with a lower --lr-g"
    )
    assert not (run / "checkpoints").exists() and not RunFolder(run).rows()


@pytest.mark.usefixtures("eager_steps", "networks_of_few_layers")
def test_black_batches_are_told_and_trained_on(tmp_path, capsys):
    root = tmp_path / "set"
    for i in range(2):
        for k, kind in enumerate(("blur", "sharp")):
            path = root / "train" / "GOPR0001_00_00" / kind / f"{i:06}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((48, 64, 3), 9 * (1 - k), np.uint8)).save(path)
    main(
        [
            "--data",
            str(root),
            "--run",
            str(tmp_path / "run"),
            *SMALL,
            "--adversarial-domains",
            "none",
            "--steps",
            "2",
            "--round-steps",
            "1",
            "--validation",
            "none",
        ]
    )
    warnings = [line for line in capsys.readouterr().err.splitlines() if "one colour" in line]
    assert len(warnings) == 2 and "step 1: all its sharp crops are of one colour: " in warnings[0]
    assert all(f"00000{i}.png" in line for line in warnings for i in range(2))


@pytest.mark.slow
@pytest.mark.usefixtures("eager_steps", "networks_of_few_layers")
def test_a_resumed_run_keeps_the_options_of_the_run(pairs, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr("madn.train.compute_deterministically", lambda: called.append(True))
    run = RunFolder(tmp_path / "run")
    command = ["--run", str(run.path), "--steps", "4"]
    main(
        [
            *command,
            "--data",
            str(pairs),
            *SMALL,
            "--adversarial-domains",
            "none",
            "--round-steps",
            "2",
            "--deterministic",
            "--checkpoint-minutes",
            "5",
        ]
    )
    run.state(4).unlink()
    main([*command, "--resume"])
    assert [row["step"] for row in run.rows()] == ["2", "4"] and len(called) == 2
    assert run.settings()["options"] == {
        "round_steps": 2,
        "minutes": None,
        "checkpoint_minutes": 5.0,
        "deterministic": True,
        "strategy": "none",
    }


@pytest.mark.parametrize("name", ["madn", "sisnet", "structure_guided", "msr2b", "egnet"])
def test_stored_settings_come_back_as_they_were(name, tmp_path):
    """Also where each is another than by default, lists among them."""
    run, recipe = RunFolder(tmp_path), recipes.get(name)
    options = RunOptions(round_steps=3, minutes=2.0, checkpoint_minutes=1.0, deterministic=True)
    data = DataOptions(
        data=["a", "b"],
        photos="p",
        photo_share=0.3,
        photo_blur="video",
        longest_shake=12.0,
        held_photos=3,
        validation="x,y",
        crop_tries=2,
        shrink=(1.0, 2.0),
        skip_bad=True,
        cache="disk",
        cache_gb=2.0,
    )
    for kept in (data, options):
        for field in fields(kept):
            if field.name not in ("blurred", "sharp", "recipe", "run", "resume", "weights", "strategy", "list"):
                assert getattr(kept, field.name) != field.default, field.name
    stored = json.loads(json.dumps([asdict(options), asdict(data), recipe.fields()]))
    read = [_checked(stored[0], RunOptions, run), _data_options(stored[1], run), recipes.from_fields(name, stored[2])]
    assert parse_groups(read, [], "madn.train", "") == [options, data, recipe]


def test_samples_with_another_set_are_no_sample_run():
    assert _which_recipe(_first_look(["--data", "samples", "--batch", "2"]), None)[0] == "madn-sample"
    for words in (["samples", "A"], ["A", "samples"], ["A"]):
        assert _which_recipe(_first_look(["--data", *words, "--batch", "2"]), None)[0] == "madn", words


@pytest.mark.parametrize(
    "words", ["--minutes inf", "--cache-gb nan", "--lr-g inf", "--adam 0.9 nan 1e-8", "--checkpoint-minutes nan"]
)
def test_numbers_that_json_does_not_know_are_refused(words, tmp_path, capsys):
    said = fails(capsys, "--run", tmp_path / "run", *words.split())
    assert said.endswith(
        f"{words.split()[0]}: {'(0.9, nan, 1e-08)' if 'adam' in words else words.split()[1]} is no finite number"
    )
    assert not (tmp_path / "run").exists()


def test_several_machines_take_steps_not_minutes(pairs, tmp_path):
    with pytest.raises(UserError, match="give --steps with --strategy multiworker"):
        main(
            [
                "--data",
                str(pairs),
                "--run",
                str(tmp_path / "run"),
                *SMALL,
                "--strategy",
                "multiworker",
                "--minutes",
                "1",
            ]
        )
    assert not (tmp_path / "run").exists()


def test_checkpoints_without_their_settings_are_left_alone(tmp_path):
    state = tmp_path / "checkpoints/state-0000003.weights.h5"
    state.parent.mkdir()
    state.write_bytes(b"a state")
    for resume in (True, False):
        with pytest.raises(UserError, match="settings.json is gone; choose another --run"):
            main(["--run", str(tmp_path), *(["--resume"] if resume else [])])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [state]


def test_a_run_of_an_earlier_version_is_left_alone(tmp_path):
    state = tmp_path / "checkpoints" / "state.weights.h5"
    state.parent.mkdir()
    state.write_bytes(b"old")
    for resume in (True, False):
        with pytest.raises(UserError, match="earlier version.*--weights .*last.weights.h5"):
            RunFolder(tmp_path).settings_to_go_on(None, resume)


@pytest.mark.usefixtures("eager_steps", "networks_of_few_layers")
def test_flags_of_a_run_may_be_repeated_on_resume(pairs, tmp_path, capsys):
    second = tmp_path / "second"
    picture(second / "train" / "GOPR0003_00_00" / "blur" / "000001.png", seed=1)
    picture(second / "train" / "GOPR0003_00_00" / "sharp" / "000001.png", seed=2)
    command = [
        "--data",
        str(pairs),
        str(second),
        "--run",
        str(tmp_path / "run"),
        *SMALL,
        "--adversarial-domains",
        "none",
        "--steps",
        "1",
        "--skip-bad",
        "--residual",
        "blurred",
    ]
    main(command)
    main([*command, "--resume"])  # all steps are done: says so, changes nothing
    assert capsys.readouterr().out.count("step 1:") == 2
    RunFolder(tmp_path / "run").log.unlink()
    main([*command, "--resume"])
    assert "log.csv is lost; weights" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["resumed"]
