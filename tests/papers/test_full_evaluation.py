"""A user with all of GoPro's test part, RealBlur's and Köhler's benchmark fills every cell of the papers' tables that
images can fill; which stay empty, and why, stands here."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from madn import evaluate
from madn.evaluation import measuring
from madn.imaging.arrays import write_image
from madn.papers import published
from madn.papers.results import find_results
from madn.papers.tables import method_name
from madn.restoration import loading

# GoPro's eleven test scenes, each with how many pairs it has and the number of its first here. The frames' numbers are
# made up but for those of Table 3.
SCENES = {
    "GOPR0384_11_00": (100, 1),
    "GOPR0384_11_05": (100, 4001),
    "GOPR0385_11_01": (100, 3011),
    "GOPR0396_11_00": (100, 1),
    "GOPR0410_11_00": (134, 111),
    "GOPR0854_11_00": (100, 1),
    "GOPR0862_11_00": (77, 1),
    "GOPR0868_11_00": (100, 1),
    "GOPR0869_11_00": (100, 1),
    "GOPR0871_11_00": (100, 1),
    "GOPR0881_11_01": (100, 201),
}
STORE = "store=GOPR0385_11_01/003011"  # Whichever pair the user takes for it.
EMPTY = {
    "a count, by python -m madn.bench --counts": lambda cell: cell.metric in ("gflops", "size"),
    "asked of people": lambda cell: cell.metric == "score",
    "HSIC, which EGNet's notebook measures": lambda cell: cell.metric == "hsic",
    "seconds of a network that is not run here": lambda cell: cell.metric == "seconds" and not cell.recipes,
}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A full evaluation of tiny images by official names, and the same under each recipe, method and data set."""
    monkeypatch.chdir(tmp_path)
    assert sum(count for count, _ in SCENES.values()) == 1111
    sharp = np.random.default_rng(0).random((16, 16, 3)).astype(np.float32)
    for kind, image in (("sharp", sharp), ("blur", sharp * 0.8)):
        write_image(tmp_path / f"{kind}.png", image)
        for scene, (count, first) in SCENES.items():
            folder = tmp_path / f"GOPRO/test/{scene}/{kind}"
            folder.mkdir(parents=True)
            for number in range(first, first + count):
                shutil.copyfile(tmp_path / f"{kind}.png", folder / f"{number:06}.png")
    network = loading.Loaded(lambda batch: batch / np.float32(0.8), "a brightening network")
    network = SimpleNamespace(**{**vars(network), "multiple": 1})
    monkeypatch.setattr(measuring, "find_model", lambda *_: None)
    monkeypatch.setattr(loading, "load_network", lambda *_: network)
    evaluate.main(["runs/a", "--data", "GOPRO", "--pictures", "0", "--out", "made"])
    whole = json.loads((tmp_path / "made/full.json").read_text())
    assert len(whole["images"]) == 1111 and len({image["name"] for image in whole["images"]}) == 1111

    def keep(place, **facts):
        (tmp_path / "runs" / place).mkdir(parents=True)
        (tmp_path / "runs" / place / "full.json").write_text(json.dumps({**whole, **facts}))

    tables = [(paper, published.table(paper, which)) for paper in published.PAPERS for which in published.tables(paper)]
    recipes = {name for _, shown in tables for columns in shown.recipes.values() for names in columns for name in names}
    others = {
        method_name(paper, row)
        for paper, shown in tables
        if shown.scored
        for row in shown.rows
        if row not in shown.recipes
    }
    everything = {f"recipe-{name}": {"recipe": name} for name in recipes}
    everything |= {f"method-{name}": {"recipe": None, "method": name, "median_seconds": None} for name in others}
    for place, facts in everything.items():
        keep(f"GoPro/{place}", **facts)
        # The tables of the other sets are means over all pairs, so that their names do not matter.
        keep(f"Köhler/{place}", layout="Köhler", data="Köhler", images=whole["images"][:1], **facts)
        for which in "JR" if "egnet" in place or "method" in place else "":
            of = {"layout": "RealBlur", "data": f"RealBlur_{which}_test_list.txt", "images": whole["images"][:1]}
            keep(f"RealBlur-{which}/{place}", **of, **facts)
    return tmp_path / "runs"


def empty_cells(results, images) -> list[SimpleNamespace]:
    """The published numbers beside which nothing was measured."""
    found = []
    for paper in published.PAPERS:
        for which in published.tables(paper):
            shown = published.table(paper, which)
            for line in published.beside(paper, which, results, images):
                k = shown.columns.index(line.column)
                for metric in line.published:
                    if metric not in ({*line.measured} - ({"ssim"} if not shown.scored else set())):
                        found.append(
                            SimpleNamespace(
                                paper=paper,
                                table=which,
                                method=line.method,
                                column=line.column,
                                metric=metric,
                                data=shown.data[k],
                                recipes=line.method in shown.recipes,
                            )
                        )
    return found


@pytest.mark.slow
def test_a_full_evaluation_fills_every_cell_that_images_can_fill(runs, capsys):
    results = find_results([runs])
    images = dict([STORE.split("=")])
    left = empty_cells(results, images)
    unexplained = [cell for cell in left if not any(rule(cell) for rule in EMPTY.values())]
    assert not unexplained
    for reason, rule in EMPTY.items():
        assert any(rule(cell) for cell in left), f"no cell is left empty any more: {reason}"
    # Without the user's word only the store, and with it the average, stay empty beside these.
    more = [cell for cell in empty_cells(results, {}) if not any(rule(cell) for rule in EMPTY.values())]
    assert {(cell.paper, cell.table, cell.column) for cell in more} == {
        ("madn", "table 3", "store"),
        ("madn", "table 3", "average"),
    }
    capsys.readouterr()
    evaluate.main(["--table", "--results", str(runs), "--images", STORE])
    said = capsys.readouterr().out
    assert said.count("1,111 of 1,111") > 50 and "Not known" not in said
