"""Facts that are known before anything is measured: the machine, and the stages of each recipe."""

from collections.abc import Sequence

import keras

from madn.benchmarks.reference_rates import describe_machine
from madn.benchmarks.step_timing import stages
from madn.system.versions import versions


def about(sources: Sequence[str], train: bool) -> dict:
    """Machine, versions and backend, and as `stages` the names of each source's stages, "" where there is one.

    Raises `UserError` for a source that cannot be loaded or, with `train`, does not train.
    """
    names = {}
    for source in sources if train else ():
        every = stages(source)
        names[source] = [stage.stage_name if len(every) > 1 else "" for stage in every]
    return {"machine": describe_machine(), "backend": keras.backend.backend(), "versions": versions(), "stages": names}
