"""The kit for a GPU machine without a network: packs, files in parts, the queue, the backend, and going on."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "scripts"))  # `gpu` is a package there, and is one in the kit

from gpu import KitError, bench, build, crops, jobs, machine, pace, parts, resume, run, training  # noqa: E402
from gpu.call import Call, follow  # noqa: E402
from gpu.state import stage_at  # noqa: E402

from madn import recipes  # noqa: E402
from madn.data.images import decode  # noqa: E402
from madn.data.sets import open_pairs  # noqa: E402
from madn.errors import UserError  # noqa: E402

QUEUE = PROJECT / "scripts" / "gpu" / "queue.json"
MIB = parts.MIB


def write(path: Path, size: int, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(seed).bytes(size))
    return path


# Files in parts


@pytest.mark.parametrize("size, sizes", [(0, [0]), (9, [9]), (10, [10]), (25, [10, 10, 5])])
def test_a_file_is_split_by_size_and_joined_again(tmp_path, size, sizes):
    file = write(tmp_path / "a", size)
    made = parts.split(file, tmp_path / "parts", "a", 10)
    assert [path.stat().st_size for path in made] == sizes
    assert made[0].name == f"a.part1of{len(sizes)}"
    parts.join(made, tmp_path / "again", parts.sha256_of(file))
    assert (tmp_path / "again").read_bytes() == file.read_bytes()


def test_parts_that_are_missing_or_damaged_are_refused(tmp_path):
    file = write(tmp_path / "a", 25)
    made = parts.split(file, tmp_path, "a", 10)
    digest = parts.sha256_of(file)
    made[1].write_bytes(b"0123456789")
    with pytest.raises(KitError, match="damaged"):
        parts.join(made, tmp_path / "again", digest)
    made[1].unlink()
    with pytest.raises(KitError, match="a.part2of3 is missing"):
        parts.join(made, tmp_path / "again", digest)
    assert not (tmp_path / "again").exists()


# What comes back: at most 8 files of at most 16 MiB, 64 MiB in all.
@pytest.mark.parametrize(
    "what, mb, here, whole",
    [
        ("madn-srn, float16", 20.4, [1, 2], True),
        ("madn, float16", 58.2, [1, 2, 3, 4], True),
        ("egnet, float16", 53.2, [1, 2, 3, 4], True),
        ("madn-srn, its state", 121.8, [1, 2, 3], False),
        ("sisnet, float16", 98.2, [1, 2, 3], False),
    ],
)
def test_what_fits_into_the_files_that_come_back(what, mb, here, whole):
    size = int(mb * 1e6)
    sizes = [min(parts.PART, size - start) for start in range(0, size, parts.PART)]
    assert parts.fitting(sizes) == here
    assert (len(here) == len(sizes)) == whole == (size <= parts.SENT)
    assert len(here) + len(parts.SMALL) <= 8
    assert sum(sizes[number - 1] for number in here) + parts.SMALL_BYTES <= 64 * MIB
    assert parts.fitting(sizes, here[-1] + 1) == list(range(here[-1] + 1, len(sizes) + 1))[:3]


def test_files_are_dealt_into_packs(tmp_path):
    files = [write(tmp_path / name, size) for name, size in (("a", 4), ("b", 5), ("c", 2), ("d", 20), ("e", 1))]
    assert [[file.name for file in pack] for pack in parts.deal(files, 10)] == [["a", "b"], ["c"], ["d"], ["e"]]


# The queue


def test_the_queue_is_valid_and_in_the_order_of_worth():
    queue = jobs.read_queue(QUEUE, PROJECT, recipes.check_name)
    assert list(queue)[:3] == ["bench", "madn-published", "madn-srn"]
    papers = [name for name in queue if name.startswith("papers-")]
    readings = [name for name in queue if name.startswith("readings-")]
    assert list(queue)[3:] == papers + readings
    assert {jobs.recipe_of(queue[name]) for name in papers} == {"madn", "sisnet", "structure_guided", "msr2b", "egnet"}
    assert {queue[name].minutes for name in papers} == {8} and {queue[name].minutes for name in readings} == {4}


@pytest.mark.parametrize("cpu", [False, True])
@pytest.mark.parametrize("name", jobs.read_queue(QUEUE))
def test_each_command_is_one_that_its_program_takes(name, cpu, tmp_path):
    job = jobs.read_queue(QUEUE)[name]
    for pack in (*job.packs, *job.start):
        write(tmp_path / pack, 1)
    options = job.options(tmp_path, cpu, 50)
    if job.kind == "bench":
        asked = bench.measurements(options, tmp_path)
        assert {line["what"] for line in asked} == {"training", "restoration"}
        assert [recipes.check_name(line["recipe"]) for line in asked]
        return
    recipe, beside = pace.recipe_and_options(options)
    assert recipe.steps == (262_000 if name == "madn-published" else 50)
    assert beside.data == ["crops1"] or beside.data == "crops1"
    assert recipe.crop == (64 if cpu else 256)
    if name == "madn-published" and not cpu:  # nothing of the recipe but its length, which is the paper's
        assert replace(recipe, steps=None) == recipes.get("madn")


def test_a_job_starts_from_the_first_weights_that_are_there(tmp_path):
    job = jobs.read_queue(QUEUE)["madn-srn"]
    for pack in job.packs:
        write(tmp_path / pack, 1)
    with pytest.raises(KitError, match="holds neither"):
        job.options(tmp_path, False, 50)
    write(tmp_path / "weights/srn.weights.h5", 1)
    assert job.options(tmp_path, False, 50)[-2:] == ["--weights", "weights/srn.weights.h5"]
    write(tmp_path / "weights/madn-srn.weights.h5", 1)
    assert job.options(tmp_path, False, 50)[-4:] == ["--weights", "weights/madn-srn.weights.h5", "--gn-share", "0"]
    (tmp_path / "photos1").unlink()
    with pytest.raises(KitError, match="reads photos1, which the kit here does not hold"):
        job.options(tmp_path, False, 50)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"name": "Bench 1"}, "no plain one"),
        ({"kind": "look"}, "of kind 'look'"),
        ({"minutes": 0}, "takes 0 minutes"),
        ({"minutes": 60}, "at most 8"),
        ({"backend": "numpy"}, "asks for backend"),
        ({"packs": ["test", "../x"]}, "no pack"),
        ({"packs": ["crops1"]}, "is not measured"),
        ({"command": ["--data", "x"]}, "names no --recipe"),
        ({"command": "--recipe madn"}, "no list of words"),
        ({"status": "run"}, "neither"),
        ({"status": {"date": "2026-01-31", "device": "H100", "result": "nowhere.json"}}, "no file of the project"),
        ({"status": {"date": "in May", "device": "H100", "result": "setup.py"}}, "has the date"),
        ({"colour": "red"}, "unknown field colour"),
    ],
)
def test_a_queue_that_is_wrong_is_refused(tmp_path, change, said):
    line = {"name": "a", "kind": "train", "about": "", "minutes": 3, "command": ["--recipe", "madn"], "packs": ["test"]}
    file = tmp_path / "queue.json"
    file.write_text(json.dumps({"jobs": [line]}))
    assert jobs.read_queue(file)["a"].status == "todo"
    file.write_text(json.dumps({"jobs": [line | change]}))
    with pytest.raises(KitError, match=said):
        jobs.read_queue(file, PROJECT)


def test_a_job_that_has_run_names_its_result(tmp_path):
    status = {"date": "2026-01-31", "device": "NVIDIA H100", "result": "setup.py"}
    line = {"name": "a", "kind": "bench", "about": "", "minutes": 3, "command": [], "status": status}
    file = tmp_path / "queue.json"
    file.write_text(json.dumps({"jobs": [line]}))
    assert jobs.read_queue(file, PROJECT)["a"].status == status
    file.write_text(json.dumps({"jobs": [line, line]}))
    with pytest.raises(KitError, match="twice"):
        jobs.read_queue(file)
    with pytest.raises(KitError, match="no job 'b' in the queue: there are a"):
        jobs.find({"a": jobs.QueuedJob(**line)}, "b")


# The backend


def test_the_faster_backend_is_chosen():
    assert pace.choose({"torch": {"steps_per_second": 3.0}, "jax": {"steps_per_second": 4.0}}) == "jax"
    assert pace.choose({"torch": {"steps_per_second": 3.0}, "jax": {"failed": "no training on it"}}) == "torch"
    with pytest.raises(KitError, match="torch: broken; jax: no training on it"):
        pace.choose({"torch": {"failed": "broken"}, "jax": {"failed": "no training on it"}})


def test_a_pace_leaves_out_what_came_before_the_first_time():
    assert pace.rate([(2, 10.0), (5, 11.0), (12, 15.0)]) == 2.0
    with pytest.raises(KitError, match="too few"):
        pace.rate([(2, 10.0)])


@pytest.fixture
def call(tmp_path):
    return Call(
        tmp_path / "kit", tmp_path / "out", tmp_path / "work", tmp_path / "site", "a device", 8.0, 9.5, 30.0, False, 0.0
    )


def job_of(**fields) -> jobs.QueuedJob:
    return jobs.QueuedJob(
        **{
            "name": "a",
            "kind": "train",
            "about": "",
            "minutes": 8.0,
            "command": ["--recipe", "madn", "--steps", jobs.STEPS],
            **fields,
        }
    )


def test_the_steps_follow_from_the_pace_and_are_kept(call, monkeypatch):
    asked = []

    def tried(backend, *rest):
        asked.append(backend)
        return {"failed": "not here"} if backend == "jax" else {"steps_per_second": 2.5}

    monkeypatch.setattr(pace, "tried", tried)
    one = training.Training(job_of(), call)
    assert one.choose_backend(resume.Left("nothing")) == "torch" and asked == ["torch", "jax"]
    assert one.facts["steps"] == 1200 and one.facts["steps_per_second"] == 2.5
    # On such a device it is not tried again, on another it is; the schedule is the same on both.
    left = resume.Left("generator", 100, one.facts)
    again = training.Training(job_of(), call)
    again.facts = dict(one.facts)
    assert again.choose_backend(left) == "torch" and len(asked) == 2
    other = training.Training(job_of(backend="torch"), replace(call, device="another"))
    other.facts = dict(one.facts)
    assert other.choose_backend(left) == "torch" and asked[2:] == ["torch"]
    assert other.facts["steps"] == 1200 and set(other.facts["paces"]) == {"a device", "another"}


def test_a_job_with_steps_of_its_own_keeps_them(call, monkeypatch):
    monkeypatch.setattr(pace, "tried", lambda *_: {"steps_per_second": 2.5})
    one = training.Training(job_of(command=["--recipe", "madn", "--steps", "262000"]), call)
    one.choose_backend(resume.Left("nothing"))
    assert one.facts["steps"] is None


@pytest.mark.parametrize(
    "stages, minutes, before, option, deadline",
    [
        (1, 8.0, 0.0, 6.167, 410.0),  # as long as 9.5 minutes have room for
        (1, 2.0, 300.0, 7.0, 170.0),  # in all, those of earlier calls included
        (1, 8.0, 300.0, 8.0, 230.0),  # what is left of the job's
        (3, 2.0, 300.0, 8.0, 145.0),
    ],
)  # stages have their shares of the whole, which is ended from here
def test_a_call_trains_what_is_left(call, monkeypatch, stages, minutes, before, option, deadline):
    followed = []
    monkeypatch.setattr(training, "follow", lambda *arguments: followed.append(arguments) or 0)
    one = training.Training(job_of(), replace(call, minutes=minutes, began=time.monotonic() - 100))
    one.facts |= {"paces": {"a device": {"torch": {"stages": stages}}}, "steps_per_second": 2.0}
    assert one.train([], "torch", {}, before, 480.0) == 0
    command, *_, seconds, _ = followed[0]
    words = dict(zip(command, command[1:]))
    assert float(words["--minutes"]) == pytest.approx(option, abs=0.01)
    assert seconds == pytest.approx(deadline, abs=0.5)
    assert int(words["--round-steps"]) in (60, 80)
    assert json.loads((call.out / "job.json").read_text())["exit_code"] == 0


def test_a_call_without_time_says_so(call):
    one = training.Training(job_of(), replace(call, began=time.monotonic() - 500))
    with pytest.raises(KitError, match="70 seconds of the call's 9.5 minutes are left, and this job needs 105"):
        one.train([], "torch", {}, 0.0, 480.0)


# Going on


def leave(folder: Path, kind: str, step: int, job: str = "a", size: int = 25) -> dict:
    """What a call leaves in the folder that goes back."""
    file = write(folder / "weights", size)
    made = parts.split(file, folder, f"{job}-{step}-{kind}", 10)
    facts = {
        "job": job,
        "backend": "torch",
        "steps": 500,
        "trained_seconds": 60.0,
        "settings": {"recipe": "madn", "fields": {}, "data": {}},
        "sent": {
            "kind": kind,
            "step": step,
            "file": f"state-{step:07d}.weights.h5",
            "bytes": size,
            "sha256": parts.sha256_of(file),
            "parts": [{"name": path.name, "bytes": path.stat().st_size} for path in made],
        },
    }
    parts.write_json(folder / "job.json", facts)
    file.unlink()
    return facts


def leave_run(home: Path, step: int) -> None:
    write(home / "run" / "checkpoints" / f"state-{step:07d}.weights.h5", 5)
    (home / "run" / "settings.json").write_text("{}")


def test_what_is_furthest_is_gone_on_from(tmp_path, capsys):
    home, out, kit = tmp_path / "home", tmp_path / "out", tmp_path / "kit"
    places = [out, kit]
    assert resume.find("a", home, places).kind == "nothing"
    leave(kit, "generator", 100)
    leave(out, "state", 300, job="another")
    facts = json.loads((kit / "job.json").read_text())
    assert resume.find("a", home, places) == resume.Left("generator", 100, facts, kit)
    leave(out, "state", 100)
    assert (resume.find("a", home, places).kind, resume.find("a", home, places).folder) == ("state", out)
    leave_run(home, 100)
    assert resume.find("a", home, places).kind == "run"
    leave(out, "generator", 200)
    assert (resume.find("a", home, places).kind, resume.find("a", home, places).step) == ("generator", 200)
    next(out.glob("a-200-generator.part2of3")).unlink()
    capsys.readouterr()
    assert resume.find("a", home, places).kind == "run"
    assert "a-200-generator.part2of3 is missing or cut short" in capsys.readouterr().out


def test_a_state_that_came_back_becomes_a_run_folder(tmp_path):
    facts = leave(tmp_path / "out", "state", 40)
    (tmp_path / "out" / "log.csv").write_text("step\n40\n")
    home = tmp_path / "home"
    resume.restore(resume.find("a", home, [tmp_path / "out"]), home, {}, tmp_path)
    state = home / "run" / "checkpoints" / "state-0000040.weights.h5"
    assert parts.sha256_of(state) == facts["sent"]["sha256"]
    assert json.loads((home / "run" / "settings.json").read_text())["recipe"] == "madn"
    assert (home / "run" / "log.csv").read_text() == "step\n40\n"
    assert resume.find("a", home, [tmp_path / "out"]).kind == "run"


def test_a_step_belongs_to_the_stage_that_takes_it():
    stages = [("first", 10), ("second", 30)]
    assert [stage_at(stages, step) for step in (1, 10, 11, 40, 41)] == [(0, 0), (0, 0), (1, 10), (1, 10), (1, 10)]


@pytest.mark.slow
def test_a_state_of_a_generator_alone_goes_on_at_its_step(tmp_path, monkeypatch):
    import keras
    from gpu import state

    from madn.training.checkpoint import load_state, read_place, save_generator

    recipe = replace(
        recipes.get("madn-srn"),
        widths=(2, 2, 4),
        res_blocks=1,
        crop=32,
        batch=1,
        steps=40,
        gn_share=0.25,
        precision="float32",
    )
    stage, steps = recipe.stages(40)[1]
    model = stage.build_model(steps)
    rates = [float(model.optimizer.learning_rate)]
    model.optimizer.iterations.assign(15)
    rates.append(float(model.optimizer.learning_rate))
    save_generator(model.generator, tmp_path / "g.weights.h5", "madn-srn", stage.fields(), step=25)
    run_folder = tmp_path / "run"
    parts.write_json(
        run_folder / "settings.json", {"recipe": "madn-srn", "fields": recipe.fields(), "data": {}, "total_steps": 40}
    )
    state.main([str(run_folder), str(tmp_path / "g.weights.h5"), "25", "90.5"])
    file = run_folder / "checkpoints" / "state-0000025.weights.h5"
    place = read_place(file)
    assert (place.stage, place.first_step, place.total, place.seconds) == (1, 10, 40, 90.5)
    keras.utils.set_random_seed(1)
    again = replace(stage, seed=1).build_model(steps)
    load_state(again, file)
    assert again.updates == 15 and float(again.optimizer.learning_rate) == rates[1] < rates[0]
    for mine, theirs in zip(again.generator.get_weights(), model.generator.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def write_run(home: Path, step: int, state_bytes: int) -> None:
    """A run folder as training leaves one, with weights of two layers."""
    import h5py

    leave_run(home, step)
    write(home / "run" / "checkpoints" / f"state-{step:07d}.weights.h5", state_bytes)
    with h5py.File(home / "run" / "checkpoints" / "last.weights.h5", "w") as file:
        file["a"], file["b"] = np.arange(6, dtype="float32"), np.arange(4)
        file.attrs["madn_recipe"] = json.dumps({"recipe": "madn", "fields": {}, "step": step})
    (home / "run" / "log.csv").write_text(f"step,seconds,loss\n{step},61.5,0.5\n")
    write(home / "run" / "samples" / "latest.png", 10)


@pytest.mark.parametrize("state_bytes, kind", [(1000, "state"), (200_000, "generator")])
def test_what_is_sent_is_the_state_where_it_fits(call, monkeypatch, state_bytes, kind):
    monkeypatch.setattr(parts, "SENT", 100_000)
    one = training.Training(job_of(), call)
    write_run(one.home, 40, state_bytes)
    one.log.write_text("said")
    one.send()
    write_run(one.home, 60, state_bytes)
    one.send()
    sent = json.loads((call.out / "job.json").read_text())["sent"]
    assert (sent["kind"], sent["step"], sent["parts_here"]) == (kind, 60, [1])
    assert sorted(path.name for path in call.out.iterdir()) == sorted([*parts.SMALL, f"a-0000060-{kind}.part1of1"])
    if kind == "generator":
        import h5py

        assert parts.join_sent(call.out, call.out / "whole.weights.h5") == "generator"
        with h5py.File(call.out / "whole.weights.h5") as file:
            assert (file["a"].dtype, file["b"].dtype.kind) == ("float16", "i")
    assert resume.find("a", call.work / "none", [call.out]).kind == kind


def test_parts_that_did_not_fit_are_sent_by_another_call(call, tmp_path):
    home = call.work / "a"
    facts = leave(home / "parts", "generator", 40, size=45)
    facts["sent"]["parts_here"] = [1, 2, 3]
    parts.write_json(home / "job.json", facts)
    assert training.send_more(job_of(), call, 4) == 0
    assert sorted(path.name for path in call.out.iterdir()) == [
        "a-40-generator.part4of5",
        "a-40-generator.part5of5",
        "job.json",
    ]
    with pytest.raises(KitError, match="no weights of job b on this machine"):
        training.send_more(job_of(name="b"), call, 4)


# The bench


def test_the_bench_goes_on_with_what_is_left():
    work = bench.measurements(["--recipes", "madn", "msr2b"], PROJECT / "scripts")
    assert [(line["what"], line["precision"], line["recipe"]) for line in work][:3] == [
        ("training", "mixed_bfloat16", "madn"),
        ("training", "mixed_bfloat16", "msr2b"),
        ("training", "float32", "madn"),
    ]
    rows = [{"backend": "torch", **work[0], "seconds": [1.0]}, {"backend": "jax", **work[1], "failed": "so"}]
    assert bench.left_to_do(work, rows, "torch") == work[1:]
    assert bench.left_to_do(work, rows, "jax") == [work[0], *work[2:]]


def test_a_backend_that_cannot_be_started_is_skipped_and_a_line_that_dies_is_left(call, monkeypatch):
    job = job_of(kind="bench", command=["--recipes", "madn", "msr2b", "--precision", "float32"])

    def follow(command, log, kit, environment, *rest):
        if environment["KERAS_BACKEND"] == "jax":
            log.write_text("madn: error: jax is not installed\n")
            return 2
        work = json.loads(Path(command[3]).read_text())["work"]
        if len(work) < 4:  # the second time: one line, then it is killed
            row = {"backend": "torch", **work[0], "failed": "so"}
            with open(command[4], "a") as file:
                file.write(json.dumps(row) + "\n")
        log.write_text("Killed\n")
        return -9

    monkeypatch.setattr(bench, "follow", follow)
    assert bench.run(job, replace(call, began=time.monotonic())) == 1
    found = json.loads((call.out / "job.json").read_text())
    assert found["skipped"] == {"jax": "jax is not installed"}
    assert [(row["what"], row["recipe"], row["failed"]) for row in found["rows"]] == [
        ("training", "madn", "its process ended with -9: Killed"),
        ("training", "msr2b", "so"),
        ("restoration", "madn", "its process ended with -9: Killed"),
        ("restoration", "msr2b", "so"),
    ]


def test_a_measurement_whose_time_was_over_is_left_to_another_call(call, monkeypatch, capsys):
    job = job_of(kind="bench", command=["--recipes", "madn", "--precision", "float32"])
    clock = [100.0]

    def follow(command, log, kit, environment, seconds, *rest):
        clock[0] += seconds  # Then it is asked to stop.
        return -15

    monkeypatch.setattr(bench, "follow", follow)
    monkeypatch.setattr(bench.time, "monotonic", lambda: clock[0])
    assert bench.run(job, replace(call, began=100.0, minutes=3, limit=9.5)) == 1
    assert json.loads((call.out / "job.json").read_text())["rows"] == []
    said = capsys.readouterr().out
    assert "torch: its time was over" in said and "4 measurements are left for another call" in said


def test_a_row_says_its_share_of_the_matrix_rate():
    same = {
        "what": "training",
        "recipe": "madn",
        "precision": "float32",
        "stage": 0,
        "crops_per_step": 16,
        "crop": 256,
        "peak_memory_bytes": 2**31,
        "matrix_product": {"macs": 1000, "seconds": [0.5, 0.25]},
    }
    torch = {"backend": "torch", "macs": 400, "seconds": [0.2, 0.2, 0.9], **same}
    jax = {"backend": "jax", "macs": None, "seconds": [0.4, 0.1, 0.1], **same}
    assert "0.2000 s, 50% of the matrix rate" in bench.line(torch, [torch])
    assert "operations unknown" in bench.line(jax, [jax])
    assert "0.1000 s, 100% of the matrix rate" in bench.line(jax, [torch, jax]) and "2.0 GiB" in bench.line(jax, [])
    assert bench.line({"backend": "jax", **same, "failed": "so"}, []).endswith(": so")


def test_a_batch_that_is_too_large_is_halved(monkeypatch):
    from madn.benchmarks import timing as timed

    tried = []

    def measure(batch, **others):
        tried.append(batch)
        if batch > 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
        return {"seconds": [1.0]}

    monkeypatch.setattr(timed, "measure_step", measure)
    monkeypatch.setattr(timed, "stages", lambda source: [recipes.get("madn")])
    todo = bench.measurements(["--recipes", "madn"], PROJECT)[0]
    assert bench.measured(todo)[0]["seconds"] == [1.0] and tried == [16, 8, 4]


# The machine


def test_a_package_that_is_there_is_not_installed_again(tmp_path):
    assert machine._is_there("numpy-2.0.0-cp312-cp312-manylinux_2_28_x86_64.whl")
    assert machine._is_there("opencv_python_headless-5.0-cp37-abi3-manylinux_2_28_x86_64.whl")
    assert machine._is_there("markdown-it-py") and machine._is_there("scikit-image") and machine._is_there("absl-py")
    assert not machine._is_there("no_such_package-1.0-py3-none-any.whl")
    (tmp_path / "no_such_package").mkdir()
    assert machine._is_there("no-such-package", tmp_path)


def test_what_is_lacking_is_said(tmp_path):
    with pytest.raises(KitError, match="no wheel of madn"):
        machine.install(tmp_path, tmp_path / "work")


def test_a_command_that_takes_too_long_is_stopped(tmp_path):
    ticks = []
    code = follow(
        [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"],
        tmp_path / "log",
        tmp_path,
        dict(os.environ),
        2.0,
        lambda: ticks.append(1),
    )
    assert code == -15 and ticks


@pytest.mark.process
def test_the_door_says_in_a_line_what_is_wrong(tmp_path):
    shutil.copy(QUEUE, tmp_path)
    command = [sys.executable, "-m", "gpu.run", "--kit", str(tmp_path), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "scripts")}
    done = subprocess.run([*command, "--job", "none"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("gpu-kit: error: no job 'none' in the queue: there are bench,")
    done = subprocess.run([*command, "--job", "madn-published"], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "reads crops1, test, which the kit here does not hold" in done.stderr
    done = subprocess.run([*command, "--list"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(jobs.read_queue(QUEUE))
    assert run.parser().parse_args([]).job == "bench"


# The packs


def test_windows_cover_an_image_without_overlap():
    assert crops.places(720, 360) == [0, 360] and crops.places(1280, 360) == [0, 460, 920]
    assert crops.places(719, 360) == [179] and crops.places(360, 360) == [0]


def test_windows_are_ranked_by_their_detail():
    def window(pair, detail):
        return crops.Window(pair, 0, 0, 360, detail)

    first, second = [window("a", detail) for detail in (9.0, 5.0, 1.0)], [window("b", 4.0), window("b", 3.0)]
    ranked = crops.ranked([first, second])
    assert [(each.pair, each.detail) for each in ranked] == [("a", 9.0), ("b", 4.0), ("a", 5.0), ("b", 3.0)]


def test_any_beginning_of_a_spread_order_is_spread():
    assert crops.spread(8) == [0, 4, 2, 6, 1, 3, 5, 7]
    assert all(sorted(crops.spread(count)) == list(range(count)) for count in range(1, 40))


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """Packs of three of the built-in samples' pairs of two scenes."""
    folder = tmp_path_factory.mktemp("kit")
    pairs = [pair for pair in open_pairs("samples").pairs if pair.name in ("coffee/001", "coffee/002", "rocket/001")]
    made = list(crops.write_crops(pairs, folder, 600_000, 9))
    crops.write_test(open_pairs("samples", split="test").pairs[:1], folder, 10 * MIB)
    return folder, pairs, made


def test_packs_are_sets_of_lossless_crops_below_their_limit(kit):
    folder, pairs, made = kit
    assert len(made) > 1 and [pack.name for pack in made] == [f"crops{n}" for n in range(1, len(made) + 1)]
    originals = {pair.name: pair for pair in pairs}
    for pack in made:
        assert 0 < build.size_of(pack) <= 600_000
        for pair in open_pairs(str(pack)).pairs:
            scene, _, stem = pair.name.partition("/")
            stem, top, left = stem.rsplit("_", 2)
            for mine, whole in (
                (pair.blurred, originals[f"{scene}/{stem}"].blurred),
                (pair.sharp, originals[f"{scene}/{stem}"].sharp),
            ):
                crop, image = decode(mine)[0], decode(whole)[0]
                side, top, left = len(crop), int(top), int(left)
                assert 256 <= side <= 512
                np.testing.assert_array_equal(crop, image[top : top + side, left : left + side])
    assert {pair.scene for pair in open_pairs(str(made[0])).pairs} == {"coffee", "rocket"}  # a part of every scene


def test_test_pairs_travel_whole(kit):
    (mine,) = open_pairs(str(kit[0] / "test"), split="test").pairs
    whole = open_pairs("samples", split="test").pairs[0]
    np.testing.assert_array_equal(decode(mine.sharp)[0], decode(whole.sharp)[0])
    np.testing.assert_array_equal(decode(mine.blurred)[0], decode(whole.blurred)[0])


def test_photographs_travel_as_they_are(tmp_path):
    photos = [write(tmp_path / "photos" / f"{number}.jpg", 100, number) for number in range(10)]
    made = crops.write_photos(photos, tmp_path, 320, 2)
    assert [sorted(file.name for file in pack.iterdir()) for pack in made] == [
        ["0.jpg", "3.jpg", "5.jpg"],
        ["2.jpg", "6.jpg", "9.jpg"],
    ]
    assert (made[0] / "5.jpg").read_bytes() == photos[5].read_bytes()


def test_weights_are_known_by_their_names(tmp_path):
    assert build.weights_name("vgg19_notop_float16.h5") == "vgg19.h5"
    assert build.weights_name("srn.weights.h5") == "srn.weights.h5"
    assert build.weights_name("madn-small.weights.h5") is None
    with pytest.raises(UserError, match="no weights file here"):
        build.write_weights((tmp_path / "none.h5",), tmp_path)


def test_a_report_names_every_pack_and_what_a_job_lacks(kit):
    folder = kit[0]
    for name in ("gpu", "wheels", "weights"):
        (folder / name).mkdir(exist_ok=True)
    write(folder / "weights" / "vgg16.h5", 3 * MIB)
    lines = build.report(folder, jobs.read_queue(QUEUE))
    assert any(line.endswith("weights/vgg16.h5") and "3.00 MiB" in line for line in lines)
    assert any("papers-structure_guided" in line and "lacks weights/vgg19.h5" in line for line in lines)
    with pytest.raises(UserError, match="something else than a kit"):
        build.clear(folder, ())


@pytest.mark.process
def test_scripts_that_travel_import_nothing_that_stays(tmp_path):
    for name in ("run.sh", "queue.json", "README.md"):
        assert (PROJECT / "scripts" / "gpu" / name).is_file()
    build.write_scripts(tmp_path)
    assert os.access(tmp_path / "run.sh", os.X_OK)
    done = subprocess.run(
        ["bash", tmp_path / "run.sh", "--list"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": ""},
    )
    assert done.returncode == 0 and done.stdout.startswith("bench ")
