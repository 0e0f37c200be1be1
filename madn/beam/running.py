"""Runs a pipeline to its end, by Beam's options; its counters, and its faults in one line."""

import contextlib
import io
import logging
import os
import re
import traceback
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions, WorkerOptions
from apache_beam.runners.runner import PipelineState

from madn.beam.pipeline import NAMESPACE, BatchSettings, build
from madn.beam.storage import Stop, check_known, content_of, remove_parts
from madn.errors import UserError
from madn.restoration.places import Source
from madn.system import memory

DIRECT = ("direct", "fnapi", "switchingdirect", "bundlebaseddirect")


def parsed(flags: Sequence[str]) -> PipelineOptions:
    """Beam's options, from a command line.

    Raises `UserError` for a value that does not parse, and for an option that the direct runner does not know; other
    runners ask their job servers for further ones.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            options = PipelineOptions(list(flags))
            known = options.get_all_options(retain_unknown_options=True)
    except SystemExit as stop:
        if not stop.code:  # This was --help.
            raise
        raise UserError(f"options of Beam: {errors.getvalue().strip().splitlines()[-1].split('error: ')[-1]}") from None
    if is_direct(options):
        with _unlogged():
            unknown = sorted(set(known) - set(options.get_all_options()))
        if unknown:
            raise UserError(f"options of Beam: the direct runner knows no --{', --'.join(unknown)}")
        # Local workers would write all they do on this process's standard error.
        workers = options.view_as(WorkerOptions)
        workers.default_sdk_harness_log_level = workers.default_sdk_harness_log_level or "ERROR"
    return options


def is_direct(options: PipelineOptions) -> bool:
    """Whether the pipeline runs in processes of this machine that Beam starts itself."""
    return (options.view_as(StandardOptions).runner or "direct").lower().removesuffix("runner") in DIRECT


def share(options: PipelineOptions) -> float | None:
    """GB for each of several local processes, which share half of the free memory; None for a single one."""
    direct = options.view_as(DirectOptions)
    if not is_direct(options) or direct.direct_running_mode != "multi_processing":
        return None
    return memory.available() / 2e9 / (direct.direct_num_workers or os.cpu_count() or 1)


def run(options: PipelineOptions, sources: Sequence[Source], settings: BatchSettings) -> tuple[dict[str, int], int]:
    """Build and run the pipeline; returns Beam's counters, if the engine keeps any, and the number of failures.

    Raises `UserError` where the pipeline could not be started, or ended early.
    """
    try:
        pipeline = beam.Pipeline(options=options)
    except (ValueError, ImportError) as fault:  # The runner is unknown, or options contradict each other.
        raise UserError(f"options of Beam: {' '.join(str(fault).split())}") from None
    for name in (*(source.root for source in sources), settings.output, settings.failed, settings.model):
        check_known(name)
    build(pipeline, sources, settings)
    try:
        with _unlogged() if is_direct(options) else contextlib.nullcontext():  # Beam logs each fault that it raises.
            result = pipeline.run()
            state = result.wait_until_finish()
    except Exception as fault:
        remove_parts(settings.parts)
        raise _in_one_line(fault) from fault
    remove_parts(settings.parts)
    if (state or result.state) != PipelineState.DONE:
        raise UserError(f"the pipeline ended as {state}; what is done stays, and the same command goes on")
    found = result.metrics().query(MetricsFilter().with_namespace(NAMESPACE))["counters"]
    return {each.key.metric.name: each.result for each in found}, content_of(settings.failed).count(b"\n")


@contextlib.contextmanager
def _unlogged() -> Iterator[None]:
    """A block in which this process logs nothing."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _in_one_line(fault: Exception) -> BaseException:
    """A `UserError` for a worker's `Stop` or Beam's fault about an input, by its text, for engines may keep no more."""
    text = traceback.format_exception_only(fault)[-1]
    if text.startswith("RuntimeError: KeyboardInterrupt"):  # Beam makes this of Ctrl-C within a step.
        return KeyboardInterrupt()
    if text.startswith("RuntimeError: Channel closed prematurely"):  # What Beam knows of a worker that was killed.
        return UserError(
            "a worker process ended early, killed by somebody or by the system for lack of memory (fewer "
            "--direct_num_workers or less --memory-gb need less); what is done stays, and the same command goes on"
        )
    if stop := re.search(rf"{Stop.__name__}: (.*?)(?: \[while running|$)", text, re.M):
        return UserError(stop[1])
    if empty := re.search(r"Empty match for pattern (.*)\. Disallowed", text):
        return UserError(f"{empty[1]}: matches nothing")
    if failed := re.search(r"BeamIOError: (.*?)(?: \[while running|$)", text, re.M):
        return UserError(failed[1])
    return fault
