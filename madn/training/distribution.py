"""Training on several GPUs or machines: tf.distribute's strategies, as TF_CONFIG and the visible devices have it.

Every device takes an equal share of each batch. Losses are means over a device's share, gradients the mean over the
devices, and random numbers belong to the image, so that the run is the one that a single device would do.
"""

import contextlib
import os
from collections.abc import Callable, Iterator

import keras
import msgspec

from madn.errors import UserError, WorkerLost, one_line
from madn.nn import replicas
from madn.system.json_files import decode_json


class Task(msgspec.Struct):
    """Which process of a cluster this one is."""

    type: str
    index: int | str


class Cluster(msgspec.Struct):
    """TF_CONFIG, as TensorFlow has it."""

    cluster: dict[str, list[str]]
    task: Task


class Devices:
    """The devices that share a run's batches. Make it before anything else uses TensorFlow.

    Args:
        name: "none" is one device. "mirrored" are all GPUs of this machine, or all logical CPUs where there is none.
            "multiworker" are the devices of all machines that TF_CONFIG names, each of which runs this command.
    Raises:
        UserError: on another backend than TensorFlow, and for "multiworker" without a usable TF_CONFIG.
    """

    def __init__(self, name: str = "none"):
        self.strategy = None
        if name == "none":
            return
        if keras.backend.backend() != "tensorflow":
            raise UserError(f"--strategy {name} needs TensorFlow; this is KERAS_BACKEND={keras.backend.backend()}")
        import tensorflow as tf

        if name == "mirrored":
            kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
            self.strategy = tf.distribute.MirroredStrategy(
                [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices(kind)],
                cross_device_ops=None if kind == "GPU" else tf.distribute.ReductionToOneDevice(),
            )
        else:
            check_cluster(os.environ.get("TF_CONFIG"))
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy()

    @property
    def count(self) -> int:
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    @property
    def several_machines(self) -> bool:
        return self.strategy is not None and self.strategy.extended._in_multi_worker_mode()

    @property
    def chief(self) -> bool:
        """Whether this process writes the run folder: one of all does."""
        if not self.several_machines:
            return True
        resolver = self.strategy.cluster_resolver
        kind, number = resolver.task_type, resolver.task_id
        return kind == "chief" or (kind == "worker" and number == 0 and "chief" not in resolver.cluster_spec().jobs)

    def scope(self):
        """A context in which variables are made on all devices."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    @contextlib.contextmanager
    def lost_workers(self) -> Iterator[None]:
        """Raises `WorkerLost` where another process does not answer, which TensorFlow says in many ways."""
        if not self.several_machines:
            yield
            return
        import tensorflow as tf

        try:
            yield
        except (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.InternalError,
            tf.errors.DeadlineExceededError,
            tf.errors.FailedPreconditionError,
        ) as problem:
            reason = problem.message.strip().splitlines()[-1][:160]
            raise WorkerLost(
                "another worker has stopped or does not answer: start all of them again with --resume "
                f"({type(problem).__name__}: {reason})"
            ) from None

    def agree(self, number: int, what: str) -> None:
        """Raises `UserError` where the processes of a run have different numbers."""
        if not self.several_machines:
            return
        import tensorflow as tf

        def mean():
            return replicas.mean(tf.constant(number, tf.float64))

        found = float(self.strategy.experimental_local_results(self.strategy.run(tf.function(mean)))[0])
        if found != number:
            raise UserError(
                f"this worker has {what} {number}, others have another ({found:g} in the mean): all must "
                "see one run folder and the same images"
            )

    @property
    def shares(self) -> tuple[int, int, int]:
        """How a batch is shared out: this process's first share, how many it has, and how many there are in all."""
        if self.strategy is None:
            return 0, 1, 1
        process, here = 0, len(self.strategy.extended.worker_devices)
        if self.several_machines:
            resolver = self.strategy.cluster_resolver
            process = resolver.task_id + ("chief" in resolver.cluster_spec().jobs and resolver.task_type != "chief")
        return process * here, here, self.count

    def step(self, model: keras.Model) -> Callable:
        """A function that runs the model's `train_step` on this process's shares of a batch, and gives the logs of one.

        Keras' own cannot join the logs of several machines, and its distributed datasets wait up to a minute for a
        thread when they end.
        """
        import tensorflow as tf

        def step(batch):
            if self.strategy is None:
                return model.train_step(batch)
            logs = self.strategy.run(model.train_step, args=(batch,))
            return {name: self.strategy.experimental_local_results(value)[0] for name, value in logs.items()}

        if not model.run_eagerly:
            step = tf.function(step, jit_compile=model.jit_compile, reduce_retracing=True, autograph=False)

        def distributed(parts: list):
            first, here, _ = self.shares
            return tuple(
                self.strategy.experimental_distribute_values_from_function(
                    lambda context, i=i: parts[context.replica_id_in_sync_group - first][i]
                )
                for i in range(len(parts[0]))
            )

        return lambda parts: step(parts[0] if self.strategy is None else distributed(parts))


def check_cluster(text: str | None) -> None:
    """Raises `UserError` where TF_CONFIG does not name a cluster and a task of it."""
    way_out = (
        'set it as TensorFlow has it: {"cluster": {"worker": ["host:port", ...]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    if not text:
        raise UserError(f"--strategy multiworker needs TF_CONFIG; {way_out}")
    config = decode_json(text, Cluster, "TF_CONFIG", "a cluster with a task", way_out)
    kind = config.task.type
    index = int(config.task.index) if str(config.task.index).isdecimal() else -1
    hosts = config.cluster.get(kind, [])
    if not 0 <= index < len(hosts):
        raise UserError(f"TF_CONFIG: task {one_line(kind)} {index} is not among those of its cluster; {way_out}")
    if kind not in ("chief", "worker") or set(config.cluster) - {"chief", "worker"}:
        raise UserError(f"TF_CONFIG: training takes chief and worker tasks alone; {way_out}")
