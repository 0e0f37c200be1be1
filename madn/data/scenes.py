"""The scenes of a set of pairs: some held out, some chosen, so that no scene stands on both sides."""

import re
from collections import defaultdict
from collections.abc import Sequence

from madn.data.index import Pair
from madn.errors import UserError


def hold_out(pairs: Sequence[Pair], validation: str = "auto") -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Split into (training, validation) so that no scene stands on both sides.

    "auto" holds out the scene with the fewest pairs, of those with at least 2 pairs and at most a quarter of all. Where
    there is no such scene it holds out the smallest, cut to a quarter of all; the rest of it is used by neither side.
    Of a single scene it holds out the last tenth by name, if there are 4 pairs or more. "none" holds out nothing. All
    else are names of scenes, with commas between.
    `GOPR0477_11_00` and `GOPR0477_11_00_AVG11` are one scene. Raises `UserError` for a name that is not there.
    """
    scenes = defaultdict(list)
    for pair in pairs:
        scenes[_scene(pair.scene)].append(pair)
    if validation == "none":
        return tuple(pairs), ()
    if validation != "auto":
        held = in_scenes(pairs, validation, "validation scene")
        chosen = {_scene(pair.scene) for pair in held}
        if chosen == scenes.keys():
            raise UserError(f"validation '{validation}' leaves no pair to train on; name fewer scenes")
    elif len(scenes) == 1:
        ordered = sorted(pairs, key=lambda pair: pair.name)
        held = ordered[-max(1, len(ordered) // 10) :] if len(ordered) >= 4 else []
        return tuple(pair for pair in pairs if pair not in held), tuple(held)
    else:
        quarter = max(1, len(pairs) // 4)
        fitting = [name for name in scenes if 2 <= len(scenes[name]) <= quarter]
        smallest = min(fitting or scenes, key=lambda name: (len(scenes[name]), name))
        chosen, held = {smallest}, scenes[smallest][:quarter]
    return tuple(pair for pair in pairs if _scene(pair.scene) not in chosen), tuple(held)


def in_scenes(pairs: Sequence[Pair], names: str, what: str = "scene") -> tuple[Pair, ...]:
    """The pairs of the scenes of these names, with commas between.

    `GOPR0477_11_00` and `GOPR0477_11_00_AVG11` are one scene. Raises `UserError`, which calls it `what`, for a name
    that is not there.
    """
    there, chosen = {_scene(pair.scene) for pair in pairs}, {_scene(name.strip()) for name in names.split(",")}
    if unknown := chosen - there:
        raise UserError(f"{what} '{min(unknown)}' is not here; there is {', '.join(sorted(there - {''})) or 'none'}")
    return tuple(pair for pair in pairs if _scene(pair.scene) in chosen)


def _scene(name: str) -> str:
    """A scene's name without what marks a variant of it: GOPR0477_11_00_AVG11 -> GOPR0477_11_00."""
    found = re.match(r"GOPR\d{4}_\d{2}_\d{2}", name)
    return found.group() if found else name
