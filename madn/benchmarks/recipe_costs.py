"""Parameters and MACs of the recipes, beside what their papers claim."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from madn import recipes
from madn.nn.macs import network_macs
from madn.papers import published
from madn.restoration.restorer import padded_size
from madn.system.tables import markdown_lines

SIZES = ((256, 256), (1280, 720))  # These are widths and heights.


def cost_table(names: Sequence[str]) -> Iterator[str]:
    """A Markdown table: parameters, and multiply-adds (`madn.nn.macs.network_macs`) of one image in billions.

    An image is padded to the recipe's multiple: the size that was taken stands beside the number.
    """
    sizes = [f"GMACs {width}x{height}" for width, height in SIZES]
    header = ["recipe", "generator", "discriminators", *sizes, "its paper says"]
    return markdown_lines(header, map(_cells, names), [False, True, True, *[True] * len(sizes), False])


def _cells(name: str) -> list[str]:
    recipe, claim = recipes.get(name), published.load()["claims"].get(name)
    generator = recipe.build_generator()
    cells = [name, f"{generator.count_params():,}", _discriminators(recipe.build_critics()) or "none"]
    for size in SIZES:
        width, height = (padded_size(n, recipe.multiple) for n in size)
        billions = network_macs(generator, height, width).total / 1e9
        cells.append(f"{billions:,.3f}" + (f" ({width}x{height})" if (width, height) != size else ""))
    return [*cells, f"{claim['claim']} ({claim['source']})" if claim else ""]


def _discriminators(critics: dict) -> str:
    """Parameters of each discriminator; one that judges several domains is named once."""
    domains = defaultdict(list)
    for domain, critic in critics.items():
        domains[id(critic), critic.count_params()].append(domain)
    return ", ".join(f"{' and '.join(names)} {count:,}" for (_, count), names in domains.items())
