"""Both tables and their file, measured on narrow networks, here in one process."""

import json

import keras
import pytest
from narrow import narrow

from madn import bench
from madn.benchmarks import suite, timing
from madn.errors import UserError
from madn.training.checkpoint import save_generator


@pytest.fixture
def here(monkeypatch):
    """Measurements without processes of their own: starting TensorFlow takes longer than they do."""

    def call(module, function, *arguments, **keywords):
        assert module == timing.__name__
        return suite.guarded(lambda: getattr(timing, function)(*arguments, **keywords))

    monkeypatch.setattr(suite, "in_own_process", call)
    monkeypatch.setattr("madn.benchmarks.reference_rates.SIDES", {False: 64, True: 64})


def weights(name, folder, **changes):
    recipe = narrow(name, **changes)
    keras.utils.set_random_seed(0)
    save_generator(recipe.build_generator(), folder / f"{name}.weights.h5", name, recipe.fields())
    return str(folder / f"{name}.weights.h5")


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


@pytest.mark.slow
def test_two_tables_and_every_time_in_the_file(tmp_path, capsys, here):
    file = weights("madn", tmp_path, scales=1, adversarial_domains="none")
    code = bench.main(
        [
            "--recipes",
            file,
            "--size",
            "48x33",
            "--crop",
            "32",
            "--batch",
            "1",
            "--repeats",
            "2",
            "--json",
            str(tmp_path / "found.json"),
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    found = json.loads((tmp_path / "found.json").read_text())
    assert code == 0 and cells(lines[2]) == list(suite.RESTORATION) and cells(lines[6]) == list(suite.TRAINING)
    (restored,), (trained,) = found["restoration"], found["training"]
    assert [len(restored["seconds"]), len(restored["stack"]["seconds"]), len(trained["seconds"])] == [2, 2, 2]
    assert restored["tile_size"] == [48, 36] and restored["tiles"] == "whole"  # padded to multiples of 4
    assert restored["stack"]["macs"] == 10 * 48 * 36 * 9 * 64 * 64
    assert trained["macs"] > 2 * restored["macs"] * 32 * 32 / 48 / 36 and trained["crop"] == 32
    row, step = cells(lines[4]), cells(lines[8])
    middle = sum(restored["seconds"]) / 2
    assert float(row[3]) == pytest.approx(middle, rel=0.01) and row[5] == "2"
    assert float(row[6]) == pytest.approx(48 * 33 / 1e6 / middle, rel=0.01)
    assert float(step[6]) == pytest.approx(2 / sum(trained["seconds"]), rel=0.01)
    assert found["command"].startswith("python -m madn.bench --recipes ") and found["machine"]["cores"] >= 1
    assert found["backend"] == keras.backend.backend() and found["versions"]["keras"] == keras.__version__


def test_one_that_fails_is_named_with_its_reason_and_the_others_go_on(tmp_path, capsys, here):
    file = weights("msr2b", tmp_path)
    code = bench.main(
        [
            "--recipes",
            file,
            "--only",
            "training",
            "--crop",
            "40",
            "--batch",
            "1",
            "--repeats",
            "1",
            "--precision",
            "mixed_bfloat16",
            "float32",
        ]
    )
    lines = capsys.readouterr().out.splitlines()[4:]
    assert code == 1 and len(lines) == 2
    assert all("failed: --crop must be a multiple of 32; received 40" in line for line in lines)
    assert [cells(line)[1] for line in lines] == ["mixed_bfloat16", "float32"]
    assert all(len(cells(line)) == len(suite.TRAINING) for line in lines)


def test_stages_of_a_recipe_are_lines_of_their_own():
    assert [stage.parts for stage in timing.stages("egnet")] == [
        ("backbone",),
        ("backbone", "egn"),
        ("backbone", "egn", "sen"),
    ]
    assert [stage.backbone_weights for stage in timing.stages("sisnet")] == ["none"]


def test_shares_follow_from_the_times():
    row = {
        "recipe": "madn",
        "precision": "float32",
        "size": [1000, 500],
        "tiles": "whole",
        "megapixels": 0.5,
        "seconds": [2.0, 2.0, 8.0],
        "macs": 30e9,
        "peak_memory_bytes": 1.5e9,
        "stack": {"seconds": [1.0, 1.0, 4.0], "macs": 20e9},
        "matrix_product": {"seconds": [0.5, 1.0, 1.0], "macs": 15e9},
    }
    assert suite.restoration_cells(row) == [
        "madn",
        "float32",
        "1000x500",
        "2",
        "7.4",
        "3",
        "0.25",
        "30.0",
        "15.0",
        "75%",
        "50%",
        "1.50",
    ]
    assert suite.restoration_cells({**row, "macs": None})[7:] == ["", "", "", "", "1.50"]


@pytest.mark.slow
@pytest.mark.process
def test_a_process_that_dies_leaves_a_line():
    assert "was killed" in suite.in_own_process("os", "_exit", 9)["failed"]


def test_exceptions_become_reasons():
    def fail(problem):
        raise problem

    assert suite.guarded(lambda: fail(UserError("no such file"))) == {"failed": "no such file"}
    assert suite.guarded(lambda: fail(MemoryError("too\nmuch"))) == {"failed": r"MemoryError: too\nmuch"}
