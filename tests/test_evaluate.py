"""The door on pairs in the GoPro layout, with a network that undoes how the pairs were darkened."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from skimage import data

from madn import evaluate, loading
from madn.errors import UserError
from madn.imaging.files import read_image, to_float, write_image


@pytest.fixture(autouse=True)
def brightening(monkeypatch):
    """What was asked to be loaded."""
    calls = []

    def load(*arguments):
        calls.append(arguments)
        recipe = SimpleNamespace(multiple=16, blur_kind="blur")
        return loading.Loaded(lambda batch: batch / np.float32(0.8), "a brightening network", recipe)

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
    assert brightening == [("runs/a", "last", None)]
    said = capsys.readouterr().out
    assert "a brightening network" in said and "3 pairs" in said and "blur kind: blur" in said
    assert "psnr restored" in said and "mean of 3" in said and "SSIM" not in said
    read = json.loads((tmp_path / "out/full.json").read_text())
    assert [image["name"] for image in read["images"]] == ["s1/1", "s1/2", "s2/1"]
    assert (read["model"], read["blur_kind"], read["protocol"]) == ("a brightening network", "blur", "full")
    assert read["command"] == (f"python -m madn.evaluate runs/a --data {folder} --out {tmp_path}/out --pictures 2 "
                               "--which last")
    assert read["mean"]["restored"]["psnr"] > read["mean"]["blurred"]["psnr"] + 10
    pictures = sorted((tmp_path / "out/pictures").iterdir())
    assert [picture.name for picture in pictures] == ["full_s1_1.png", "full_s1_2.png"]
    drawn = np.asarray(Image.open(pictures[0]))
    sharp = np.rint(read_image(folder / "test/s1/sharp/1.png") * 255)
    assert any(np.array_equal(drawn[-64:, left:left + 80], sharp) for left in range(drawn.shape[1] - 79))


def test_both_protocols_limit_and_two_folders(folder, tmp_path):
    evaluate.main(["runs/a", "--blurred", f"{folder}/test/s1/blur", "--sharp", f"{folder}/test/s1/sharp",
                   "--limit", "1", "--protocol", "both", "--crop", "32", "--seed", "7", "--out", f"{tmp_path}/out",
                   "--pictures", "0"])
    full, crop = (json.loads((tmp_path / f"out/{name}.json").read_text()) for name in ("full", "crop"))
    assert [len(full["images"]), len(crop["images"])] == [1, 1] and crop["images"][0]["size"] == [32, 32]
    assert (crop["crop"], crop["seed"], full["crop"], full["blur_kind"]) == (32, 7, None, None)
    assert not (tmp_path / "out/pictures").exists()


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
    def load(*_):
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


def test_results_of_a_run_lie_in_its_folder(folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/settings.json").touch()
    evaluate.main([f"{tmp_path}/run", "--data", str(folder), "--limit", "1", "--pictures", "0"])
    assert (tmp_path / "run/evaluation/set-test-blur/full.json").is_file()


def test_bad_pairs_are_named_before_the_model_is_loaded(folder, brightening):
    broken = folder / "test/s1/blur/2.png"
    broken.write_bytes(broken.read_bytes()[:500])
    (folder / "test/s2/sharp/1.png").unlink()
    with pytest.raises(UserError) as problem:
        evaluate.main(["runs/a", "--data", str(folder)])
    lines = str(problem.value).splitlines()
    assert len(lines) == 2 and any("2.png: cannot be read" in line for line in lines)
    assert any("s2/blur/1.png: no partner" in line for line in lines)
    for arguments, message in ((["--crop", "65", "--protocol", "crop"], "80x64 is smaller than 65x65"),
                               (["--limit", "0"], "--limit 0"), (["--blur-kind", "blur_gamma"], "blur_gamma")):
        with pytest.raises(UserError, match=message):
            evaluate.main(["runs/a", "--data", str(folder), *arguments])
    with pytest.raises(UserError, match="--data DIR, or --blurred DIR and --sharp DIR"):
        evaluate.main(["runs/a", "--blurred", str(folder)])
    assert brightening == []


def test_bad_pairs_can_be_left_out(folder, tmp_path, capsys):
    (folder / "test/s2/sharp/1.png").unlink()
    evaluate.main(["runs/a", "--data", str(folder), "--skip-bad", "--out", f"{tmp_path}/out",
                   "--pictures", "0"])
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
    for arguments, message in ((["--table", "mdan"], "no paper 'mdan'; there is madn"), ([], "missing MODEL"),
                               (["--results", "runs"], "--results is of --table"),
                               (["runs/a", "--table"], "leave out MODEL"),
                               (["--table", "--skip-bad", "--data", "x"], "leave out --data, --skip-bad"),
                               (["--table", "--results", "gone"], "gone: no such folder or file")):
        with pytest.raises(UserError, match=message):
            evaluate.main(arguments)
    assert len(brightening) == 1


def test_tables_start_neither_keras_nor_tensorflow():
    code = ("import sys; from madn import evaluate; evaluate.main(['--table', 'egnet', '--results']); "
            "assert not {'keras', 'tensorflow', 'torch'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("name, says", [("deconvolution-fitted", "the sharp image was used"),
                                        ("deconvolution-blind", "found in the blurred image alone")])
def test_traditional_references_are_measured_like_a_network(name, says, folder, tmp_path, brightening, monkeypatch,
                                                            capsys):
    monkeypatch.setattr(evaluate, "start_keras", lambda: pytest.fail("needs no network"))
    evaluate.main([name, "--data", str(folder), "--out", f"{tmp_path}/out", "--pictures", "1"])
    assert brightening == [] and "mean of 3" in capsys.readouterr().out
    read = json.loads((tmp_path / "out/full.json").read_text())
    assert read["model"].startswith(f"{name}: ") and says in read["model"] and "stand-in" in read["model"]
    assert (read["recipe"], read["parameters"], read["blur_kind"], len(read["images"])) == (None, None, "blur", 3)
    assert len(list((tmp_path / "out/pictures").iterdir())) == 1
    for options in (["--which", "last"], ["--ensemble"]):
        with pytest.raises(UserError, match="leave --which, --recipe and --ensemble out"):
            evaluate.main([name, "--data", str(folder), *options])


def test_a_folder_of_that_name_comes_first(folder, tmp_path, brightening, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deconvolution-blind").mkdir()
    evaluate.main(["deconvolution-blind", "--data", str(folder), "--pictures", "0"])
    assert brightening == [("deconvolution-blind", "best", None)]


def test_an_unknown_model_is_told_the_references(folder, monkeypatch, capsys):
    def load(*arguments):
        raise UserError("nothing there")

    monkeypatch.setattr(loading, "load_network", load)
    with pytest.raises(UserError, match=r"^nothing there \(without a network: deconvolution-fitted, deconvolution-bl"):
        evaluate.main(["deconvolution-blnd", "--data", str(folder)])
    with pytest.raises(UserError, match="^nothing there$"):
        evaluate.main([str(folder), "--data", str(folder)])
    with pytest.raises(SystemExit):
        evaluate.main(["--help"])
    assert "deconvolution-fitted" in capsys.readouterr().out
