"""TensorBoard's event files, scalars and pictures, written a round at a time by the thread that trains.

The records are TensorBoard's own, but not its `summary.Writer`: that writes in a thread of its own, which ends in a
traceback where the disk is full, while a run must end there in one line and go on later.
"""

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path

from PIL.Image import Image

from madn.system.writing import HOST


class Events:
    """Writes scalars and pictures of a run, into one file for each process; without TensorBoard it does nothing.

    TensorBoard is told to forget what an interrupted run wrote from `first_step` on: this process writes it again.
    """

    def __init__(self, folder: Path, first_step: int):
        self.first_step = first_step
        self.file = folder / f"events.out.tfevents.{int(time.time()):010d}.{HOST}.{os.getpid()}"

    def write(self, step: int, scalars: Mapping[str, float], pictures: Mapping[str, Image] | None = None) -> None:
        """Append one value of each name, and pictures, as JPEG. Raises `OSError` where the disk refuses."""
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.plugins.scalar.summary_v2 import scalar_pb
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:  # A machine with PyTorch alone may lack it; log.csv holds the same numbers.
            return
        now = time.time()
        events = [Event(wall_time=now, step=step, summary=scalar_pb(name, value)) for name, value in scalars.items()]
        for name, picture in (pictures or {}).items():
            encoded = io.BytesIO()
            picture.convert("RGB").save(encoded, format="JPEG", quality=90)
            image = Summary.Image(
                height=picture.height, width=picture.width, colorspace=3, encoded_image_string=encoded.getvalue()
            )
            summary = Summary(value=[Summary.Value(tag=name, image=image)])
            events.append(Event(wall_time=now, step=step, summary=summary))
        if not self.file.exists():
            started = SessionLog(status=SessionLog.START)
            events = [
                Event(wall_time=now, file_version="brain.Event:2"),
                Event(wall_time=now, step=self.first_step, session_log=started),
                *events,
            ]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())
