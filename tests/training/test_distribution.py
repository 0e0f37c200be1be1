"""Two devices with half a batch each do what one does with the whole; a wrong cluster is named."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from madn.data.batches import Shares
from madn.errors import UserError, WorkerLost
from madn.training.distribution import Devices, check_cluster

pytest.importorskip("tensorflow")
HERE = Path(__file__).parent
NAMES = ("madn", "sisnet", "run")


def start(out, strategy, steps, *names, **environment):
    return subprocess.Popen(
        [sys.executable, HERE / "distributed.py", strategy, str(steps), out, *names],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    for process in processes:
        _, said = process.communicate(timeout=900)
        assert process.returncode == 0, said[-3000:]


def assert_equal(expected, found, names):
    """Weights, moments and logs of these recipes."""
    with np.load(expected) as first, np.load(found) as second:
        expected, found = dict(first), dict(second)
    assert list(found) == [key for key in expected if key.split("/")[0] in names] and len(found) > 100
    for key in found:
        # Gradients jump where a rounding switches a ReLU.
        tolerance = 1e-4 if any(name in key for name in ("momentum", "velocity", "gradient_norm")) else 1e-5
        np.testing.assert_allclose(found[key], expected[key], rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "found.npz"
    finish(start(out, "none", 10, *NAMES))
    return out


@pytest.mark.process
@pytest.mark.slow
def test_two_mirrored_devices_equal_one(one_device, tmp_path):
    """Ten steps of a log loss and of batch means; a whole run, stopped and resumed."""
    finish(start(tmp_path / "found.npz", "mirrored", 10, *NAMES))
    assert_equal(one_device, tmp_path / "found.npz", NAMES)


@pytest.mark.process
@pytest.mark.slow
def test_two_processes_equal_one(one_device, tmp_path):
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        workers = [f"127.0.0.1:{each.getsockname()[1]}" for each in (first, second)]
    finish(
        *(
            start(
                tmp_path / "found.npz",
                "multiworker",
                10,
                "madn",
                TF_CONFIG=json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": i}}),
            )
            for i in (0, 1)
        )
    )
    assert_equal(one_device, tmp_path / "found.npz", ("madn",))


def test_shares_are_the_batch_in_its_order():
    """Batches of 8 crops on two processes of two devices each."""
    crops = [[Shares(2 * process, 2, 4).crops(number, 8) for number in range(4)] for process in (0, 1)]
    assert crops[0] == [[0, 1], [2, 3], [8, 9], [10, 11]]
    assert crops[1] == [[4, 5], [6, 7], [12, 13], [14, 15]]
    assert Shares().crops(3, 4) == [12, 13, 14, 15]


def test_a_lost_worker_is_told_apart_from_other_faults(monkeypatch):
    import tensorflow as tf

    devices = Devices()
    monkeypatch.setattr(Devices, "several_machines", True)
    with pytest.raises(WorkerLost, match="start all of them again with --resume .*Unavailable.*: reset by peer"):
        with devices.lost_workers():
            raise tf.errors.UnavailableError(None, None, "Collective ops:\nreset by peer")
    with pytest.raises(ZeroDivisionError), devices.lost_workers():
        raise ZeroDivisionError
    assert WorkerLost.exit_code == 75


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "needs TF_CONFIG; set it as TensorFlow has it"),
        ("{", "not a cluster with a task"),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "not a cluster with a task"),
        ('{"cluster": [], "task": 0}', "not a cluster with a task"),
        ('{"cluster": {"worker": ["a:1"]}}', "not a cluster with a task"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "worker 1 is not among those",
        ),
        ('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "chief and worker tasks alone"),
    ],
)
def test_a_wrong_cluster_is_named(text, said):
    with pytest.raises(UserError, match=said):
        check_cluster(text)


def test_one_device_is_no_strategy():
    devices = Devices()
    assert (devices.count, devices.chief, devices.several_machines) == (1, True, False)
    assert devices.shares == (0, 1, 1)
