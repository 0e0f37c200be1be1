"""Photos of a bucket or a very large folder restored by Apache Beam, on whatever runs its pipelines.

    match -> name -> group by target -> skip, read -> RunInference -> write
                 \\______________________ failures ____________________/ -> one list

The grouping finds photos that would go to one place, drops what was found twice, and distributes the photos over all
workers; the engine does everything after it in one step, so that no pixels travel. A result takes its place by a
rename, whole or not at all, and one that is there is skipped before its photo is read: so it makes no difference what
an engine, or a person after a stop, runs again. A fault of one file becomes a line of the list of failures. A fault
that all files would have (a network that cannot be loaded, a full disk) ends the pipeline.

Beam itself leaves out, without a word, folders that it may not list and links that lead nowhere.
"""

import io
import logging
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.fileio import EmptyMatchTreatment, MatchFiles
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference
from apache_beam.ml.inference.tensorflow_inference import TFModelHandlerNumpy

from madn.beam.storage import Stop, content_of, is_there, put
from madn.errors import UserError
from madn.imaging.colours import colours_of
from madn.imaging.photos import Photo, decode_photo, encode_photo, read_photo
from madn.restoration.places import Source, failure_list, is_remote, look, settle
from madn.restoration.restorer import Restorer
from madn.restoration.targets import Failure, Job
from madn.system.memory import shortage

NAMESPACE = "madn"  # The counters restored, noted, skipped, failed and left out are in this namespace.


@dataclass(frozen=True)
class BatchSettings:
    """The settings that workers get; most are those of `madn.batch.BatchOptions`."""

    output: str
    failed: str
    parts: str
    """This run's own folder, for files that are not whole yet."""
    model: str
    which: str
    recipe: str | None
    trust_model: bool
    precision: str
    memory_gb: float | None
    tile: int | None
    megapixels: float
    overwrite: bool


def build(pipeline: beam.Pipeline, sources: Sequence[Source], settings: BatchSettings) -> None:
    """Add all steps to a pipeline: it writes results below `settings.output`, and the list `settings.failed`."""
    found = [
        pipeline
        | f"Match {i}" >> MatchFiles(source.pattern, EmptyMatchTreatment.DISALLOW)
        | f"Name {i}" >> beam.ParDo(Name(source, settings.output)).with_outputs("failed", main="named")
        for i, source in enumerate(sources)
    ]
    settled = (
        tuple(each.named for each in found)
        | "Named" >> beam.Flatten()
        | "By target" >> beam.GroupByKey()
        | "Settle" >> beam.ParDo(Settle()).with_outputs("failed", main="jobs")
    )
    photos, unread = settled.jobs | "Read" >> beam.ParDo(Read(settings)).with_exception_handling(exc_class=UserError)
    restored, lost = photos | "Restore" >> RunInference(
        KeyedModelHandler(PhotoHandler(settings))
    ).with_exception_handling(exc_class=UserError)
    _, unwritten = restored | "Write" >> beam.ParDo(Write(settings)).with_exception_handling(exc_class=UserError)
    failures = [
        unread | "Not read" >> beam.Map(lambda failed: failure(failed[0], failed)),
        lost.failed_inferences | "Not restored" >> beam.Map(lambda failed: failure(failed[0][0][0], failed)),
        unwritten | "Not written" >> beam.Map(lambda failed: failure(failed[0][0], failed)),
    ]
    _ = (
        (*(each.failed for each in found), settled.failed, *failures)
        | "Failures" >> beam.Flatten()
        | "In one list" >> beam.combiners.ToList()
        | "Write the list" >> beam.ParDo(WriteList(settings))
    )


class Name(beam.DoFn):
    """Makes (target, source), or a `Failure`, of a file that was found; counts what is left out."""

    def __init__(self, source: Source, output: str):
        self.source, self.output = source, output

    def process(self, element) -> Iterator[tuple[str, str]]:
        match look(element.path, self.source, self.output):
            case Job(source, target):
                yield target, source
            case Failure() as failed:
                yield beam.pvalue.TaggedOutput("failed", failed)
            case _:
                add_to_counter("left out")


class Settle(beam.DoFn):
    """Makes a `Job`, or `Failure`s, of (target, its sources)."""

    def process(self, element: tuple[str, Iterable[str]]) -> Iterator[Job[str]]:
        settled = settle(*element)
        if isinstance(settled, Job):
            yield settled
        else:
            yield from (beam.pvalue.TaggedOutput("failed", each) for each in settled)


class Read(beam.DoFn):
    """Makes (job, photo) of a `Job`, unless its result is there. Raises `UserError` for a photo that cannot be read."""

    def __init__(self, settings: BatchSettings):
        self.settings = settings

    def process(self, element: Job[str]) -> Iterator[tuple[Job[str], Photo]]:
        if not self.settings.overwrite and is_there(element.target):
            add_to_counter("skipped")
        elif is_remote(element.source):
            content = content_of(element.source)
            if not content:
                raise UserError(f"{element.source}: cannot be read as an image (the file is empty)")
            yield element, decode_photo(io.BytesIO(content), element.source, self.settings.megapixels)
        else:
            yield element, read_photo(element.source, self.settings.megapixels)


class PhotoHandler(TFModelHandlerNumpy):
    """Beam's handler of TensorFlow models, here for photos of any size, which are restored one at a time.

    Beam loads the network once for each worker process, for all of its threads. It is not shared between processes
    (`large_model`): its weights take little memory, compared with what a photo takes on its way through it.
    """

    def __init__(self, settings: BatchSettings):
        super().__init__(settings.model, inference_fn=_restored, min_batch_size=1, max_batch_size=1)
        self.settings = settings

    def load_model(self) -> "OneByOne":
        """Load the network, where the base class would call keras.models.load_model; raises `Stop` if there is none."""
        from madn.restoration.loading import load_network

        settings = self.settings
        try:
            with tempfile.TemporaryDirectory() as folder:
                model = settings.model
                if is_remote(model):
                    model = Path(folder, model.rsplit("/", 1)[1])
                    model.write_bytes(content_of(settings.model))
                loaded = load_network(model, settings.which, settings.recipe, settings.precision, settings.trust_model)
            return OneByOne(loaded.restorer(settings.memory_gb, settings.tile))
        except UserError as reason:
            raise Stop(str(reason)) from None

    def get_num_bytes(self, batch: Sequence[Photo]) -> int:
        """Bytes of pixels, for the metrics that Beam keeps."""
        return sum(photo.pixels.nbytes for photo in batch)


class OneByOne:
    """A restorer that several threads share; it restores one photo at a time, for its memory is that of one."""

    def __init__(self, restorer: Restorer):
        self._restorer, self._lock = restorer, threading.Lock()

    def __call__(self, photo: Photo) -> np.ndarray:
        with self._lock:
            return self._restorer(photo.pixels, colours=colours_of(photo.metadata.icc))[0]


def _restored(model: OneByOne, batch: Sequence[Photo], inference_args: dict, model_id: str | None = None):
    """Beam's inference function; raises `UserError` where one photo is to blame."""
    with shortage("not restored, for lack of memory: give less --memory-gb or a smaller --tile"):
        return [PredictionResult(photo, model(photo), model_id) for photo in batch]


class Write(beam.DoFn):
    """Writes a `PredictionResult` to its job's target. Raises `UserError` where that cannot be written, or `Stop`."""

    def __init__(self, settings: BatchSettings):
        self.settings, self._folders = settings, set()

    def process(self, element: tuple[Job[str], PredictionResult]) -> tuple:
        job, result = element
        encoded = io.BytesIO()
        notes = encode_photo(encoded, job.target, result.inference, result.example)
        put(job.target, encoded.getvalue(), self.settings.parts, self._folders)
        add_to_counter("restored")
        notes = (*result.example.notes, *notes)
        add_to_counter("noted", bool(notes))
        for note in notes:  # Engines keep the logs of their workers; the direct runner has none.
            logging.warning("%s: %s", job.source, note)
        return ()


class WriteList(beam.DoFn):
    """Writes the list of all failures, which replaces that of the run before."""

    def __init__(self, settings: BatchSettings):
        self.settings = settings

    def process(self, element: list[Failure]) -> None:
        content = failure_list(element)
        put(self.settings.failed, content, self.settings.parts, set())
        add_to_counter("failed", content.count(b"\n"))


def add_to_counter(name: str, by: int = 1) -> None:
    """Add to one of Beam's counters."""
    Metrics.counter(NAMESPACE, name).inc(by)


def failure(job: Job[str], failed: tuple[Any, tuple]) -> Failure:
    """The `Failure` of a job, of what Beam keeps: (element, (exception's type, its `repr`, lines of the traceback))."""
    reason = failed[1][2][-1].partition(": ")[2].strip()
    return Failure(job.source, reason.removeprefix(f"{job.source}: "))
