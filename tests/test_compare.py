"""The comparison: how long each recipe trains, what is run again and what not, and the table."""

import csv
import json
from types import SimpleNamespace

import pytest

from madn.compare import main, training_options
from madn.errors import UserError, run_door
from madn.training import comparison
from madn.training.comparison import Contest, table

MEAN = {"blurred": {"psnr": 24.0, "ssim": 0.7, "ssim_matlab": 0.8},
        "restored": {"psnr": 25.5, "ssim": 0.75, "ssim_matlab": 0.85}}


@pytest.fixture
def commands(monkeypatch):
    """Stands in for the processes: training writes a log of half a second a step, evaluation its JSON."""
    called = []

    def run(command):
        module, words = command[2], command[3:]
        called.append([module, *words])
        options = {word: words[i + 1] for i, word in enumerate(words[:-1]) if word.startswith("--")}
        if module == "madn.train":
            folder = comparison.Path(options["--run"])
            folder.mkdir(parents=True)
            steps, every = int(options["--steps"]), int(options["--round-steps"])
            with (folder / "log.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["step", "seconds"])  # tracing takes 20 s of the first round
                writer.writerows([step, 20 + 0.5 * step] for step in range(every, steps + 1, every))
        else:
            images = [{"blurred": {"psnr": 24}, "restored": {"psnr": psnr}} for psnr in (25, 26, 23, 28)]
            out = comparison.Path(options["--out"])
            out.mkdir(parents=True, exist_ok=True)
            (out / "full.json").write_text(json.dumps({"mean": MEAN, "images": images}))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(comparison.subprocess, "run", run)
    return called


def contest(tmp_path, minutes=1.0):
    return Contest(tmp_path / "runs", minutes, ["--data", "GOPRO"], "GOPRO")


def test_the_minutes_decide_the_steps_and_nothing_is_done_twice(tmp_path, commands):
    entry = contest(tmp_path).enter("madn-budget", {"vgg16": "a.h5", "vgg19": "b.h5"})
    assert (entry.steps, entry.better, entry.images) == (120, 3, 4)  # 60 s at 0.5 s
    assert entry.minutes == pytest.approx((20 + 60) / 60)
    assert entry.gmacs == pytest.approx(7.46, abs=0.01) and entry.scores == MEAN
    assert [call[0] for call in commands] == ["madn.train", "madn.train", "madn.evaluate"]
    assert commands[1][commands[1].index("--steps") + 1] == "120" and "--vgg-weights" not in commands[1]
    again = contest(tmp_path).enter("madn-budget", {})
    assert again == entry and [call[0] for call in commands[3:]] == ["madn.evaluate"]
    with pytest.raises(UserError, match="holds a comparison of 1 minutes; choose another --run"):
        contest(tmp_path, 2.0).enter("madn-budget", {})
    text = table([entry]).splitlines()
    assert text[2] == "| blurred input | | | | | 24.00 | 0.7000 | 0.8000 | |"
    assert text[3].startswith("| `madn-budget` | 601,913 | 7.46 | 120 | 1.3 | 25.50 |")
    assert text[3].endswith("| 3 of 4 |")


def test_each_paper_gets_its_own_vgg(tmp_path, commands):
    for name, file in (("sisnet-budget", "a.h5"), ("msr2b-budget", "b.h5")):
        contest(tmp_path).enter(name, {"vgg16": "a.h5", "vgg19": "b.h5"})
        assert commands[-2][commands[-2].index("--vgg-weights") + 1] == file


def test_a_failed_command_is_named_and_what_follows_is_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison.subprocess, "run", lambda command: SimpleNamespace(returncode=2))
    with pytest.raises(UserError, match="madn.train ended with exit code 2"):
        contest(tmp_path).enter("madn-budget", {})
    monkeypatch.setattr(comparison.subprocess, "run", lambda command: SimpleNamespace(returncode=130))
    with pytest.raises(KeyboardInterrupt):
        contest(tmp_path).enter("madn-budget", {})


@pytest.mark.parametrize(("argv", "said"), [
    (["--data", "nowhere"], "nowhere: no such folder"),
    (["--data", "nowhere", "--minutes", "0"], "--minutes must be above 0"),
    (["--data", "nowhere", "--recipes", "madm"], "unknown recipe 'madm'"),
    ([], "--data"),
])
def test_faults_are_one_line(argv, said, capsys):
    with pytest.raises(SystemExit) as stop:
        run_door(main, argv)
    shown = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and said in shown and "\n" not in shown


def test_common_options():
    options = SimpleNamespace(data=("A", "B"), photos="C", validation="none")
    assert training_options(options) == ["--data", "A", "B", "--photos", "C", "--validation", "none"]
