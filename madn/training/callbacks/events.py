"""TensorBoard's event files, written a round at a time by the thread that trains.

The records are TensorBoard's own, but not its `summary.Writer`: that writes in a thread of its own, which ends in a
traceback where the disk is full, while a run must end there in one line and go on later.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from madn.system.writing import HOST


class Events:
    """Writes the scalars of a run, into one file for each process; does nothing where TensorBoard is not installed.

    TensorBoard is told to forget what an interrupted run wrote from `first_step` on: this process writes it again.
    """

    def __init__(self, folder: Path, first_step: int):
        self.first_step = first_step
        self.file = folder / f"events.out.tfevents.{int(time.time()):010d}.{HOST}.{os.getpid()}"

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Append one value of each name. Raises `OSError` where the disk refuses."""
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.plugins.scalar.summary_v2 import scalar_pb
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:  # A machine with PyTorch alone may lack it; log.csv holds the same numbers.
            return
        now = time.time()
        events = [Event(wall_time=now, step=step, summary=scalar_pb(name, value)) for name, value in scalars.items()]
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
