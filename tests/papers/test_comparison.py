"""The comparison: how long each recipe trains, what is run again and what not, and the table."""

import json
import signal
import threading
from pathlib import Path

import pytest

from madn import recipes
from madn.compare import CompareOptions, main, training_options
from madn.errors import UserError, run_command
from madn.papers import comparison
from madn.papers.comparison import Contest, Contestant, ranks, results_table
from madn.training.checkpoint import save_generator
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


@pytest.mark.slow
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
    text = [" ".join(line.split()) for line in results_table([entry]).splitlines()]
    assert text[2] == "| blurred input | | | | | 24.00 | 0.7000 | 0.8000 | |"
    assert text[3].startswith("| `madn-budget` | 601,913 | 7.46 | 144 | 1.5 | 25.50 |")
    assert text[3].endswith("| 3 of 4 |") and len(text) == 4  # of one recipe there is nothing to rank


def write_timing(tmp_path, name, minutes=1.0, steps=144):
    file = tmp_path / f"runs/timing/{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    options = ["--recipe", name, "--data", "GOPRO"]
    file.write_text(json.dumps({"seconds_per_step": 0.5, "minutes": minutes, "options": options, "steps": steps}))


@pytest.mark.parametrize("left", ["stopped", "without its log"])
def test_a_timing_that_was_broken_off_is_begun_afresh(tmp_path, commands, left):
    for count in comparison.TIMING_STEPS:
        run = RunFolder(tmp_path / f"runs/timing/madn-budget-{count}")
        run.checkpoints.mkdir(parents=True)
        run.state(2).touch()
        if left == "stopped":  # With --resume it would end with the seconds of both its starts.
            run.add_row({"step": count, "seconds": 60 if count > 4 else 25})
    assert contest(tmp_path)._steps("madn-budget", ["--recipe", "madn-budget"]) == 144
    assert len(commands) == 2 and not any("--resume" in call for call in commands)
    assert not list(tmp_path.glob("runs/timing/*/checkpoints/*"))


def test_a_timing_that_still_goes_on_is_left_alone(tmp_path, commands):
    run = RunFolder(tmp_path / "runs/timing/madn-budget-4")
    with run.held(), pytest.raises(UserError, match="madn-budget-4: in use by madn.train"):
        contest(tmp_path)._steps("madn-budget", ["--recipe", "madn-budget"])
    assert not commands


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (Contest(Path("runs"), 2.0, ["--data", "GOPRO"], "GOPRO"), ["madn-budget", "madn-sample"]),
        (Contest(Path("runs"), 2.0, ["--data", "GOPRO"], "GOPRO"), ["madn-budget"]),  # The table is of all.
        (Contest(Path("runs"), 1.0, ["--data", "REDS"], "GOPRO"), ["madn-budget", "madn-sample"]),
    ],
)
def test_other_minutes_or_options_are_told_before_anything_is_trained(tmp_path, commands, monkeypatch, other, names):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparison, "check_backend", lambda: None)
    write_timing(tmp_path, "madn-sample")
    with pytest.raises(UserError, match="holds a comparison of 1 minutes with .*madn-sample.*choose another --run"):
        other.run(names, {})
    assert not commands


def test_other_options_for_other_recipes_are_no_fault(tmp_path):
    write_timing(tmp_path, "madn-sample")
    Contest(tmp_path / "runs", 1.0, ["--data", "REDS"], "GOPRO").check_timings(["madn-budget"], {})


def test_weights_that_a_recipe_does_not_start_from_are_told_before_anything_is_trained(tmp_path, commands, monkeypatch):
    monkeypatch.setattr(comparison, "check_backend", lambda: None)
    file = tmp_path / "sample.weights.h5"
    sample = recipes.get("madn-sample")
    save_generator(sample.build_generator(), file, "madn-sample", sample.fields())
    started = Contest(tmp_path / "runs", 1.0, ["--data", "GOPRO", "--weights", str(file)], "GOPRO")
    with pytest.raises(
        UserError, match="recipe msr2b-budget cannot start from --weights .*sample.weights.h5: .*leave this recipe out"
    ):
        started.run(["madn-sample", "msr2b-budget"], {})
    with pytest.raises(UserError, match="recipe madn-srn starts from trained weights: give --weights FILE"):
        contest(tmp_path).run(["madn-sample", "madn-srn"], {})
    assert not commands


def test_a_recipe_that_is_named_twice_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "check_backend", lambda: None)
    monkeypatch.setattr(Contest, "prepare", lambda *_: None)
    monkeypatch.setattr(Contest, "enter", lambda self, name, weights, turn: entry(name, turn, 25.0))
    contest(tmp_path).run(["a", "b", "a"], {})
    kept = json.loads((tmp_path / "runs/table.json").read_text())
    assert [(each["recipe"], each["seed"]) for each in kept] == [("a", 0), ("b", 0)]


@pytest.fixture
def ended():
    """What would have ended this process: SIGTERM is noted in place of that."""
    numbers: list = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("when", ["while it starts", "while it runs"])
def test_sigterm_is_passed_on_to_the_command_which_is_waited_for(tmp_path, commands, monkeypatch, ended, when):
    got: list = []

    class Stopped(Process):
        def __init__(self, command):
            super().__init__(command)
            if when == "while it starts":
                signal.raise_signal(signal.SIGTERM)

        def wait(self):
            if when == "while it runs":
                signal.raise_signal(signal.SIGTERM)
            got.append("waited for")
            return -signal.SIGTERM  # A command that does not handle it.

        def send_signal(self, number):
            got.append(number)

    monkeypatch.setattr(comparison.subprocess, "Popen", Stopped)
    with pytest.raises(KeyboardInterrupt):
        contest(tmp_path)._python("madn.evaluate")
    assert got == [signal.SIGTERM, "waited for"] and not ended
    signal.raise_signal(signal.SIGTERM)
    assert ended == [signal.SIGTERM]  # Afterwards it is handled as before.


def test_another_thread_than_the_main_one_runs_commands_as_well(tmp_path, commands):
    thread = threading.Thread(target=contest(tmp_path)._python, args=("madn.evaluate", "--out", tmp_path / "out"))
    thread.start()
    thread.join()
    assert (tmp_path / "out/full.json").is_file()


@pytest.mark.slow
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
        (
            ["--data", "nowhere", "--minutes", "nan"],
            "--minutes must be above 0, and at most 525600, a year; received nan",
        ),
        (["--data", "nowhere", "--minutes", "inf"], "received inf"),
        (["--data", "nowhere", "--minutes", "1e20"], "received 1e+20"),
        (["--data", "nowhere", "--seeds", "0"], "--seeds must be 1 or more; received 0"),
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


@pytest.mark.slow
def test_each_seed_has_a_run_of_its_own_and_one_timing(tmp_path, commands, monkeypatch):
    monkeypatch.setattr(comparison, "check_backend", lambda: None)
    three = Contest(tmp_path / "runs", 1.0, ["--data", "GOPRO"], "GOPRO", seeds=3)
    text = three.run(["madn-budget"], {})
    trained = [call for call in commands if call[0] == "madn.train" and "--minutes" in call]
    assert [Path(call[call.index("--run") + 1]).name for call in trained] == [
        "madn-budget",
        "madn-budget-seed1",
        "madn-budget-seed2",
    ]
    assert ["--seed" in call and call[call.index("--seed") + 1] for call in trained] == [False, "1", "2"]
    assert len(commands) == 2 + 3 * 2  # timed once, trained and measured three times
    kept = json.loads((tmp_path / "runs/table.json").read_text())
    assert [(each["recipe"], each["seed"]) for each in kept] == [("madn-budget", seed) for seed in range(3)]
    assert "25.50 ± 0.00" in text and (tmp_path / "runs/table.md").read_text() == text + "\n"


def entry(recipe: str, seed: int, psnr: float, better: int = 3) -> Contestant:
    scores = {"blurred": MEAN["blurred"], "restored": {**MEAN["restored"], "psnr": psnr}}
    return Contestant(recipe, seed, "paper", 1000, 1.0, 100 + seed, 30.0, scores, better, 4)


def test_means_and_spreads_and_no_rank_that_the_runs_do_not_give():
    # a beats c in every run; b overlaps with both
    runs = {"a": (26.0, 26.2, 26.4), "b": (25.2, 25.9, 26.1), "c": (25.1, 25.3, 25.5)}
    assert ranks({name: list(psnr) for name, psnr in runs.items()}) == {"a": (1, 2), "b": (1, 3), "c": (2, 3)}
    entries = [entry(name, seed, psnr[seed], seed + 1) for seed in range(3) for name, psnr in runs.items()]
    lines = [" ".join(line.split()) for line in results_table(entries).splitlines()]
    assert lines[0].endswith("| PSNR above blurred | rank by PSNR |")
    assert lines[2].endswith("| 24.00 | 0.7000 | 0.8000 | | |")
    # by hand: the deviations of 26.0, 26.2 and 26.4 from their mean are 0.2, 0 and 0.2: sqrt(0.08 / 2)
    assert lines[3] == (
        "| `a` | 1,000 | 1.00 | 101 | 30.0 | 26.20 ± 0.20 | 0.7500 ± 0.0000 | 0.8500 ± 0.0000 | 1-3 of 4 | 1-2 |"
    )
    assert [line.split("|")[-2].strip() for line in lines[3:6]] == ["1-2", "1-3", "2-3"]
    assert "one comparison of 10." in lines[-1]  # 2 of the 20 orders of six runs have one recipe's three in front
    single = results_table([entry("a", 0, 26.0), entry("b", 0, 25.0)])
    assert "rank by" not in single and "±" not in single
    assert single.endswith("the order of these scores is no ranking. --seeds 3 trains each recipe with three seeds.")
    apart = ranks({"a": [3.0, 4.0], "b": [1.0, 2.0]})
    assert apart == {"a": (1, 1), "b": (2, 2)}
