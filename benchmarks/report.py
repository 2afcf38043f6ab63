"""Write what the suite has measured into `docs/performance.md`, so that no figure is typed by hand.

    python benchmarks/report.py suite.json [more.json ...] [--only CASE] [--page FILE]

What stands between the markers is replaced: `<!-- figures: NAME -->` and `<!-- end of figures -->`,
where NAME is that of a case, `targets` for all figures that have one, or `environment`. Charts are
written to the page's `images` as SVG. Of a case that several files have, the last counts. The
JSON is that of `suite.py` and `endurance.py`. Also `suite.py --report`. `--only` fills in one case
of a run that had no others, and leaves the targets of all and the environment as they are.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from figures import Chart, Result, from_document, goals_chart, table
from plots import svg

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
MARKED = re.compile(
    r"(?P<begin><!-- figures: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end of figures -->)", re.DOTALL
)


def environment_text(environment: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"{environment['cpu']}, {environment['cores']} cores, {environment['memory_gib']} GiB, "
        f"{environment['system']}, Python {environment['python']}; {versions}. "
        f"{environment['turns']} turns of {environment['seconds']:g} s."
    )


def case_text(result: Result) -> str:
    parts = [f"![{each.title}](images/{each.name}.svg)" for each in result.charts]
    if result.figures:
        parts.append(table(result.figures))
    parts += result.notes
    if result.failed:
        parts.append(f"Not measured: {result.failed}")
    return "\n\n".join(parts)


def sections(results: Iterable[Result], environment: Mapping[str, Any]) -> dict[str, str]:
    """What stands between the markers of each name."""
    results = list(results)
    aimed = [each for result in results for each in result.figures if each.goal is not None]
    image = f"![How far from its target](images/{goals_chart(aimed).name}.svg)"
    return {
        **{result.case: case_text(result) for result in results},
        "targets": f"{image}\n\n{table(aimed)}",
        "environment": environment_text(environment),
    }


def filled(page: str, texts: Mapping[str, str]) -> str:
    """The page with the text of each name between its markers; what has none stays as it is.

    Raises:
        ValueError: no marker for one of the names.
    """
    wanting = set(texts) - {found["name"] for found in MARKED.finditer(page)}
    if wanting:
        raise ValueError(f"the page has no markers for {', '.join(sorted(wanting))}")

    def fill(found: re.Match[str]) -> str:
        text = texts.get(found["name"])
        return found[0] if text is None else f"{found['begin']}\n{text}\n\n{found['end']}"

    return MARKED.sub(fill, page)


def charts_of(results: Iterable[Result]) -> list[Chart]:
    results = list(results)
    aimed = [each for result in results for each in result.figures if each.goal is not None]
    charts = [each for result in results for each in result.charts]
    return [*charts, goals_chart(aimed)] if aimed else charts


def draw(results: Iterable[Result], place: Path) -> list[Path]:
    """Write the charts of the results."""
    return _drawn(charts_of(results), place)


def _drawn(charts: Iterable[Chart], place: Path) -> list[Path]:
    place.mkdir(parents=True, exist_ok=True)
    files = []
    for each in charts:
        file = place / f"{each.name}.svg"
        file.write_text(svg(each))
        files.append(file)
    return files


def merged(documents: Iterable[dict[str, Any]]) -> tuple[list[Result], dict[str, Any]]:
    """Of a case that several have, the last; the environment of the first document."""
    found: dict[str, Result] = {}
    environment: dict[str, Any] = {}
    for document in documents:
        results, about = from_document(document)
        environment = environment or about
        found.update({result.case: result for result in results})
    return list(found.values()), environment


def write(documents: Iterable[dict[str, Any]], page: Path) -> list[Path]:
    """Fill the page and draw its charts; the files written."""
    results, environment = merged(documents)
    page.write_text(filled(page.read_text(), sections(results, environment)))
    return [page, *draw(results, page.parent / "images")]


def write_case(documents: Iterable[dict[str, Any]], case: str, page: Path) -> list[Path]:
    """Fill in and draw one case alone; the files written.

    Raises:
        ValueError: it is in none of the documents, or has no markers.
    """
    results = [each for each in merged(documents)[0] if each.case == case]
    if not results:
        raise ValueError(f"no document has the case {case}")
    page.write_text(filled(page.read_text(), {case: case_text(results[0])}))
    return [page, *_drawn(results[0].charts, page.parent / "images")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="written by suite.py --json")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--only", metavar="CASE", help="fill in this one alone")
    arguments = parser.parse_args()
    try:
        documents = [json.loads(file.read_text()) for file in arguments.files]
        if arguments.only:
            written = write_case(documents, arguments.only, arguments.page)
        else:
            written = write(documents, arguments.page)
        print("\n".join(map(str, written)))
    except (OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
