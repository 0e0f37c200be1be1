"""The comparison: how long each recipe trains, what is run again and what not, and the table."""

import json
from pathlib import Path

import pytest

from madn.compare import CompareOptions, main, training_options
from madn.errors import UserError, run_command
from madn.papers import comparison
from madn.papers.comparison import Contest, results_table
from madn.training.runfolder import RunFolder

MEAN = {
    "blurred": {"psnr": 24.0, "ssim": 0.7, "ssim_matlab": 0.8},
    "restored": {"psnr": 25.5, "ssim": 0.75, "ssim_matlab": 0.85},
}


class Process:
    """Stands in for a command: training writes a log of half a second a step, evaluation its JSON."""

    called: list = []
    code: int = 0

    def __init__(self, command):
        self.module, words = command[2], command[3:]
        self.called.append([self.module, *words])
        self.options = {word: words[i + 1] for i, word in enumerate(words[:-1]) if word.startswith("--")}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def wait(self):
        if self.code:
            return self.code
        if self.module == "madn.train":
            run = RunFolder(self.options["--run"])
            run.path.mkdir(parents=True, exist_ok=True)
            steps, every = int(self.options["--steps"]), int(self.options["--round-steps"])
            if not run.rows():
                for step in range(every, steps + 1, every):
                    run.add_row({"step": step, "seconds": 20 + 0.5 * step})  # tracing takes 20 s
        else:
            means = {"ssim": 0.7, "ssim_matlab": 0.8}
            images = [
                {"name": "", "scene": "", "blurred": {"psnr": 24, **means}, "restored": {"psnr": psnr, **means}}
                for psnr in (25, 26, 23, 28)
            ]
            about = {"data": "GOPRO", "model": "a run", "recipe": None, "protocol": "full"}
            out = Path(self.options["--out"])
            out.mkdir(parents=True, exist_ok=True)
            (out / "full.json").write_text(json.dumps({"mean": MEAN, "images": images, **about}))
        return 0


@pytest.fixture
def commands(monkeypatch):
    """The commands that were run."""
    monkeypatch.setattr(Process, "called", [])
    monkeypatch.setattr(comparison.subprocess, "Popen", Process)
    return Process.called


def contest(tmp_path, minutes=1.0):
    return Contest(tmp_path / "runs", minutes, ["--data", "GOPRO"], "GOPRO")


def test_the_minutes_decide_the_steps_and_the_clock_ends_them(tmp_path, commands):
    entry = contest(tmp_path).enter("madn-budget", {"vgg16": "a.h5", "vgg19": "b.h5"})
    assert [call[0] for call in commands] == ["madn.train", "madn.train", "madn.train", "madn.evaluate"]
    training = commands[2]
    assert training[training.index("--steps") + 1] == "144"  # 60 s at 0.5 s, and a fifth
    assert training[training.index("--minutes") + 1] == "1.0" and "--resume" in training
    assert not any("--vgg-weights" in call for call in commands)
    assert (entry.steps, entry.better, entry.images) == (144, 3, 4)
    assert entry.minutes == pytest.approx((20 + 72) / 60)
    assert entry.gmacs == pytest.approx(7.46, abs=0.01) and entry.scores == MEAN
    assert contest(tmp_path).enter("madn-budget", {}) == entry
    assert [call[0] for call in commands[4:]] == ["madn.train", "madn.evaluate"]  # is not timed again
    for other in (contest(tmp_path, 2.0), Contest(tmp_path / "runs", 1.0, ["--data", "REDS"], "GOPRO")):
        with pytest.raises(UserError, match="holds a comparison of 1 minutes with .*choose another --run"):
            other.enter("madn-budget", {})
    text = [" ".join(line.split()) for line in results_table([entry]).splitlines()]
    assert text[2] == "| blurred input | | | | | 24.00 | 0.7000 | 0.8000 | |"
    assert text[3].startswith("| `madn-budget` | 601,913 | 7.46 | 144 | 1.5 | 25.50 |")
    assert text[3].endswith("| 3 of 4 |")


def test_each_paper_gets_its_own_vgg(tmp_path, commands):
    for name, file in (("sisnet-budget", "a.h5"), ("msr2b-budget", "b.h5")):
        contest(tmp_path).enter(name, {"vgg16": "a.h5", "vgg19": "b.h5"})
        assert commands[-2][commands[-2].index("--vgg-weights") + 1] == file
        with pytest.raises(UserError, match=f"{file}: no such file"):
            contest(tmp_path).prepare(name, {"vgg16": "a.h5", "vgg19": "b.h5"})


@pytest.mark.parametrize(("code", "kind"), [(2, UserError), (130, KeyboardInterrupt)])
def test_a_command_that_fails_or_is_stopped_ends_the_comparison(tmp_path, commands, monkeypatch, code, kind):
    monkeypatch.setattr(Process, "code", code)
    with pytest.raises(kind):
        contest(tmp_path).enter("madn-budget", {})
    assert len(commands) == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--data", "nowhere", "--minutes", "0"], "--minutes must be above 0"),
        (["--data", "nowhere", "--recipes", "madm"], "unknown recipe 'madm'"),
        (["--data", "nowhere", "--photo-blur", "video"], "--photo-blur needs photographs: --photos DIR"),
        (["--data"], "--data and --recipes take at least one name each"),
        ([], "--data"),
    ],
)
def test_faults_are_one_line(argv, said, capsys):
    with pytest.raises(SystemExit) as stop:
        run_command(main, argv)
    shown = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and said in shown and "\n" not in shown


def test_common_options():
    options = CompareOptions(data=("A", "B"), photos="C", validation="none")
    assert training_options(options) == [
        "--data",
        "A",
        "B",
        "--photos",
        "C",
        "--photo-blur",
        "shake",
        "--validation",
        "none",
    ]
    started = CompareOptions(data=("A",), photos="C", photo_blur="video", weights="srn.weights.h5")
    assert training_options(started) == [
        "--data",
        "A",
        "--photos",
        "C",
        "--photo-blur",
        "video",
        "--weights",
        "srn.weights.h5",
        "--validation",
        "auto",
    ]
