"""Draw which room imports which: the floors of pyproject.toml from the top, one box a package.

    python scripts/house.py [CHECKOUT ...] --out docs/images/house.svg

Several checkouts are drawn side by side, each by its own pyproject.toml. Below each stand how many
arrows there are between rooms, how many go up or round in a circle (none may), and how many pairs
of arrows cross.
"""

import argparse
import ast
import itertools
import sys
from pathlib import Path

import matplotlib
from matplotlib import pyplot
from matplotlib.axes import Axes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "salver"  # the same picture each time

Edges = dict[tuple[str, str], int]
Place = tuple[float, float]


def floors_of(checkout: Path) -> list[list[str]]:
    """The layers of the import contract, top first, without the name of the package."""
    settings = tomllib.loads((checkout / "pyproject.toml").read_text())
    (layers,) = [
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    ]
    return [
        [room.strip().strip("()").removeprefix("salver.") for room in layer.split("|")]
        for layer in layers
    ]


def room_of(module: str, rooms: list[str]) -> str | None:
    """The longest room that a module is of."""
    fitting = [room for room in rooms if module == room or module.startswith(f"{room}.")]
    return max(fitting, key=len, default=None)


def imports_of(path: Path) -> set[str]:
    """The modules of ours that one file imports, anywhere but for type checkers alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{name.name}" for name in node.names)
        waiting.extend(ast.iter_child_nodes(node))
    return {name.removeprefix("salver.") for name in found if name.startswith("salver.")}


def edges_of(checkout: Path, rooms: list[str]) -> Edges:
    """(importing room, imported room) → in how many files."""
    edges: Edges = {}
    package = checkout / "src" / "salver"
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        here = room_of(".".join(parts), rooms)
        rooms_there = {room_of(name, rooms) for name in imports_of(path)}
        for there in rooms_there - {here, None}:
            if here is not None and there is not None:
                edges[here, there] = edges.get((here, there), 0) + 1
    return edges


def placed(floors: list[list[str]], edges: Edges) -> dict[str, Place]:
    """Where each room stands; on a floor in the order that makes arrows short."""
    orders = [list(floor) for floor in floors]
    places: dict[str, Place] = {}

    def place() -> None:
        for row, floor in enumerate(orders):
            for column, room in enumerate(floor):
                places[room] = ((column + 1) / (len(floor) + 1), -float(row))

    def pull(room: str) -> float:
        near = [places[a if b == room else b][0] for a, b in edges if room in (a, b)]
        return sum(near) / len(near) if near else places[room][0]

    place()
    for _ in range(20):
        for floor in orders:
            floor.sort(key=pull)
            place()
    return places


def crossings(places: dict[str, Place], edges: Edges) -> int:
    """How many pairs of straight arrows cross."""

    def side(a: Place, b: Place, c: Place) -> float:
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    count = 0
    for first, second in itertools.combinations(edges, 2):
        if set(first) & set(second):
            continue
        a, b, c, d = (places[room] for room in (*first, *second))
        if side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0:
            count += 1
    return count


def in_circles(edges: Edges) -> set[str]:
    """The rooms that import themselves by way of others."""
    reach = {room: {b for a, b in edges if a == room} for pair in edges for room in pair}
    changed = True
    while changed:
        changed = False
        for there in reach.values():
            more = set().union(*(reach[room] for room in there)) - there if there else set()
            if more:
                there |= more
                changed = True
    return {room for room, there in reach.items() if room in there}


def draw(axes: "Axes", checkout: Path, title: str) -> str:
    """Draw one house; returns what stands below it."""
    floors = floors_of(checkout)
    row_of = {room: row for row, floor in enumerate(floors) for room in floor}
    edges = edges_of(checkout, list(row_of))
    places = placed(floors, edges)
    upward = {(a, b) for a, b in edges if row_of[a] >= row_of[b]}
    for (a, b), files in edges.items():
        axes.annotate(
            "",
            xy=places[b],
            xytext=places[a],
            arrowprops={
                "arrowstyle": "-",
                "color": "#c00" if (a, b) in upward else "#345",
                "alpha": 0.9 if (a, b) in upward else min(0.75, 0.12 + files / 25),
                "linewidth": 0.6 + files / 12,
            },
        )
    for room, (x, y) in places.items():
        axes.text(
            *(x, y, room),
            ha="center",
            va="center",
            fontsize=7.5,
            bbox={"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "#345"},
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0.5 - len(floors), 0.5)
    axes.axis("off")
    told = (
        f"{len(edges)} arrows, {len(upward)} upward or level, {len(in_circles(edges))} rooms in "
        f"circles, {crossings(places, edges)} crossings"
    )
    axes.set_title(f"{title}\n{told}", fontsize=9)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkouts", nargs="*", type=Path, default=[Path()])
    parser.add_argument("--titles", nargs="*", default=[])
    parser.add_argument("--out", type=Path, default=Path("docs/images/house.svg"))
    given = parser.parse_args()
    figure, all_axes = pyplot.subplots(
        1, len(given.checkouts), figsize=(8.5 * len(given.checkouts), 8), squeeze=False
    )
    titled = itertools.zip_longest(given.checkouts, given.titles, fillvalue="")
    for axes, (checkout, title) in zip(all_axes[0], titled, strict=True):
        print(title or checkout, "·", draw(axes, Path(checkout), str(title)))
    figure.tight_layout()
    figure.savefig(given.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
