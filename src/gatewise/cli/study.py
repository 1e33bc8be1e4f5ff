"""Commands for convergence studies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewise.cli.common import clear_faults, cluster, console, not_run, of_name_or_file, whole_name

app = typer.Typer(no_args_is_help=True, help="Convergence studies: run, resume, judge claims.")

Where = Annotated[str, typer.Argument(metavar="NAME", help="A study of `gatewise study list`, or my_study.py:study.")]
Several = Annotated[str, typer.Argument(metavar="NAME|all", help="A study, my_study.py:study, or all of the list.")]
Folder = Annotated[str, typer.Argument(metavar="NAME|DIR", help="A folder with records, or the name of its study.")]
Given = Annotated[
    list[str] | None, typer.Option("--study", metavar="FILE.py:NAME", help="Your own study; its file is executed.")
]
TIERS = ("quick", "standard", "long", "confirmatory")


@app.command("list")
def list_studies() -> None:
    """List the studies with their curves, fits and claims."""
    with clear_faults():
        from rich import box
        from rich.table import Table

        from gatewise.cli.listing import listed

        shown = Table("name", "title", box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("curves", "fits", "claims"):
            shown.add_column(column, justify="right")
        for one in listed("studies"):
            shown.add_row(*map(str, one.values()))
        console().print(shown)


@app.command()
def run(
    name: Several,
    quick: Annotated[bool, typer.Option("--quick", help="Two sizes, two replicates: a smoke test.")] = False,
    long: Annotated[bool, typer.Option("--long", help="Ten times the replicates; extends a standard run.")] = False,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Fresh data, by a seed that is the hash of claims, windows and rules.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Other data than those of the study's own seed, into out/NAME-seed-N.", min=0)
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes, one thread each.", min=1)] = 1,
    shard: Annotated[str, typer.Option(metavar="i/N", help="Run one of N parts; they may share a folder.")] = "1/1",
    dask: Annotated[str, typer.Option(metavar="ADDRESS", help="Run on the workers of a Dask scheduler.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the runs in the folder.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder; default out/NAME or out/NAME-quick.")] = None,
) -> None:
    """Run a study or all of them, judge the claims, and write a page for each (for all, also a front page)."""
    with clear_faults():
        from gatewise.report.study.write import write_front
        from gatewise.theory.papers import STUDIES

        if quick + long + confirm > 1:
            raise ValueError("--quick, --long, --confirm: choose one")
        if confirm and seed is not None:
            raise ValueError("--confirm and --seed: a confirmatory run has the seed of its protocol")
        chosen = {"quick": quick, "long": long, "confirmatory": confirm}
        tier, part = next((name for name, given in chosen.items() if given), "standard"), _shard(shard)
        every = name == "all"
        home = out if every and out else Path("out")
        results = []
        with cluster(dask) as client:
            names = tuple(STUDIES) if every else (name,)
            for number, one in enumerate(names, 1):
                study = _study(one, tier, seed)
                folder = out if out and not every else home / (study.name + ("-quick" if quick else ""))
                options = {"workers": client or workers, "shard": part, "resume": resume}
                _run(
                    study,
                    folder,
                    options,
                    {"where": whole_name(one), "tier": tier, "seed": _text(seed)},
                    f"{number} of {len(names)}: " if every else "",
                )
                if part[1] > 1:
                    more = "" if one in STUDIES else f" --study {one}"
                    typer.echo(f"part {shard} is in {folder}; after all parts: gatewise study report {folder}{more}")
                    typer.echo(
                        f"if other parts ran on other machines, first: gatewise study join DIR... --out {folder}",
                        err=True,
                    )
                    continue
                results.append((folder, _collected(study, folder, None if one in STUDIES else [one])))
                _tell(results[-1][1], folder)
        if len(results) > 1:
            write_front(results, home / "index.html")
            typer.echo(f"wrote {home / 'index.html'}: open it in a browser")


def _run(study: Any, folder: Path, options: dict[str, Any], origin: dict[str, str], place: str) -> None:
    from gatewise.theory import run_study
    from gatewise.theory.checks import check
    from gatewise.theory.truths import truths_outside_box

    check(study)
    for words in truths_outside_box(study):
        typer.echo(f"warning: {words}", err=True)
    try:
        with _progress(f"{place}{study.name}") as tell:
            run_study(study, folder, **options, progress=tell, origin=origin)
    except KeyboardInterrupt:
        typer.echo(f"\nfinished fits are in {folder}: continue with the same command and --resume", err=True)
        raise


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME|DIR", help="A study, my_study.py:study, or a folder with records.")
    ],
    bibtex: Annotated[bool, typer.Option("--bibtex", help="How to cite it and the papers of its claims.")] = False,
    given: Given = None,
) -> None:
    """Print what a study fixes before it runs; of a folder with records the verdicts too."""
    with clear_faults():
        from gatewise.report.study.citation import bibtex as cited
        from gatewise.report.study.definition import definition
        from gatewise.report.study.write import verdict_table

        folder = Path(name) if Path(name).is_dir() else None
        study = _study(name, "standard") if folder is None else _held(folder, given)
        if bibtex:
            typer.echo(cited(study), nl=False)
            return
        shown = console()
        shown.print(definition(study))
        if folder is not None:
            shown.print(verdict_table(_collected(study, folder, given), shown.width))


@app.command()
def join(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders with records of one study.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for all records; it may hold some already.")],
) -> None:
    """Put the records of several folders of one study, such as those of several machines, into one folder."""
    with clear_faults():
        from gatewise.theory.joining import join_folders

        found = join_folders(folders, out)
        for fault in found.faults:
            typer.echo(f"warning: {fault}", err=True)
        typer.echo(f"{out} holds {len(found.records)} records; next: gatewise study report {out}")


@app.command()
def pack(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders with records, of any studies.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")] = Path("studies.tar.xz"),
) -> None:
    """Put the records of studies into one compressed file with check sums, versions, seeds and costs."""
    with clear_faults():
        from gatewise.theory import pack as packed

        index = packed(folders, out)
        fits, count = sum(one["fits"] for one in index["folders"].values()), len(index["folders"])
        held = f"{count} {'folder' if count == 1 else 'folders'}, {fits} fits, {out.stat().st_size / 1e6:.1f} MB"
        typer.echo(f"wrote {out}: {held}; next: gatewise study unpack {out}")


@app.command()
def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Written by `gatewise study pack`.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the folders of the studies.")] = Path("out"),
) -> None:
    """Write the folders of a packed file, after comparing every part with its check sum."""
    with clear_faults():
        from gatewise.theory import unpack as unpacked

        folders = unpacked(file, out)
        for folder in folders:
            typer.echo(f"wrote {folder}")
        few = " ".join(map(str, folders[:3])) + (" ..." if len(folders) > 3 else "")
        typer.echo(f"next: gatewise study report {few}")


@app.command()
def atlas(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Written by `gatewise study pack`.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for all of it.")] = Path("out/atlas"),
    figures: Annotated[str, typer.Option("--figures", metavar="pdf|svg", help="Write each figure to a file.")] = "",
    given: Given = None,
) -> None:
    """Unpack studies and write what is said about them: pages, a front page, claims as CSV and LaTeX, BibTeX."""
    with clear_faults():
        if figures not in ("", "pdf", "svg"):
            raise ValueError(f"--figures {figures}: choose pdf or svg")
        from gatewise.report.study.write import write_atlas, write_figures
        from gatewise.theory import unpack as unpacked

        folders = sorted(folder for file in files for folder in unpacked(file, out))
        results = [(folder, _collected(_held(folder, given), folder, given)) for folder in folders]
        write_atlas(results, out)
        for folder, result in results if figures else ():
            write_figures(result, folder / "figures", figures)
        count = sum(len(result.verdicts) for _, result in results)
        held = f"{count} claims of {len(results)} {'study' if len(results) == 1 else 'studies'}"
        typer.echo(f"wrote {out / 'index.html'}: {held}; open it in a browser")


@app.command()
def replay(
    folder: Folder,
    blocks: Annotated[int, typer.Option(metavar="N", min=1, help="Blocks of fits, the cheapest of each curve.")] = 1,
    given: Given = None,
) -> None:
    """Run some fits of a finished study again, and compare their records bit by bit."""
    with clear_faults():
        from gatewise.theory import replay as replayed

        place = _place(folder)
        found = replayed(_held(place, given), place, blocks)
        if found.differing:
            names = "; ".join(f"{arm}, n={axis}, replicate {one}" for arm, axis, one in found.differing[:3])
            raise ValueError(
                f"{len(found.differing)} of {found.fits} fits have other records than {place}: {names}. Other "
                "versions, processors and numbers of threads round differently; study.json names those of the records"
            )
        typer.echo(f"{found.fits} fits of {place} run again: all records are the same, bit by bit")


@app.command()
def probe(
    name: Where,
    complete: Annotated[
        bool, typer.Option("--complete", help="Also what the study does not declare: every part of the errors.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes, one thread each.", min=1)] = 1,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder; default out/NAME.")] = None,
) -> None:
    """Compute the population exponents of a study, without data. Results already in the folder are kept."""
    with clear_faults():
        from gatewise.theory import run_probes
        from gatewise.theory.probes import expected, judge_probes

        study = _study(name, "standard")
        folder = out or Path("out") / study.name
        if not (study.probes or complete):
            raise ValueError(f"the study {study.name!r} has no population exponents: --complete computes what follows")
        try:
            with _progress(f"exponents of {study.name}") as tell:
                run_probes(study, folder, tell, workers=workers, complete=complete)
        except KeyboardInterrupt:
            typer.echo(f"\nfinished exponents are in {folder}: continue with the same command", err=True)
            raise
        for found in judge_probes(study, folder):
            if found.record is not None:
                typer.echo(f"{found.record['text']}\n{found.word}: {found.reason}, claimed {expected(found.probe)}\n")


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders with records.")],
    given: Given = None,
) -> None:
    """Judge the claims of studies and write their pages (for several, also a front page of these, selected.html)."""
    with clear_faults():
        for folder in folders:
            _require_study(folder)
        from gatewise.report.study.write import write_front

        results = [(folder, _collected(_held(folder, given), folder, given)) for folder in folders]
        for folder, result in results:
            _tell(result, folder)
        if len(results) > 1:
            path = Path(folders[0]).parent / "selected.html"  # index.html is of all studies
            write_front(results, path)
            typer.echo(f"wrote {path}: open it in a browser")


@app.command()
def table(
    folder: Folder,
    form: Annotated[str, typer.Option("--format", help="csv or latex.")] = "csv",
    given: Given = None,
) -> None:
    """Print the claims of a study with slopes and verdicts."""
    with clear_faults():
        if form not in ("csv", "latex"):
            raise ValueError(f"--format {form}: choose csv or latex")
        place = _place(folder)
        from gatewise.report.study.write import claims_csv, claims_latex

        result = _collected(_held(place, given), place, given)
        typer.echo(claims_csv(result) if form == "csv" else claims_latex(result))


@app.command()
def figure(
    folder: Folder,
    form: Annotated[str, typer.Option("--format", help="pdf or svg.")] = "pdf",
    given: Given = None,
) -> None:
    """Write the figures of a study to its folder."""
    with clear_faults():
        if form not in ("pdf", "svg"):
            raise ValueError(f"--format {form}: choose pdf or svg")
        place = _place(folder)
        from gatewise.report.study.write import write_figures
        from gatewise.theory import collect

        for path in write_figures(collect(_held(place, given), place), place, form):
            typer.echo(f"wrote {path}")


def _tell(result: Any, folder: Path) -> None:
    from gatewise.files import plain_file
    from gatewise.report.study.write import verdict_table, write_page

    shown, page = console(), plain_file(folder / "index.html")
    write_page(result, page)  # first: a terminal may not know every sign
    shown.print(verdict_table(result, shown.width))
    typer.echo(f"wrote {page}: open it in a browser")


def _collected(study: Any, folder: Path, given: list[str] | None) -> Any:
    """Return the result of a folder; of a confirmatory run beside that of the exploratory run next to it, if any."""
    from gatewise.theory import collect
    from gatewise.theory.protocol import SUFFIX

    before = folder.with_name(folder.name.removesuffix(SUFFIX))
    there = study.name.endswith(SUFFIX) and before != folder and (before / "study.json").exists()
    return collect(study, folder, collect(_held(before, given), before) if there else None)


def _text(seed: int | None) -> str:
    return "" if seed is None else str(seed)


def _study(name: str, tier: str, seed: int | None = None) -> Any:
    """Return a study by name or from a user's file, in a tier, with another seed than its own if one is given."""
    from gatewise.theory import confirmatory, load_study, long, quick
    from gatewise.theory.papers import STUDIES

    study = of_name_or_file("study", name, STUDIES, load_study)
    study = {"quick": quick, "long": long, "standard": lambda s: s, "confirmatory": confirmatory}[tier](study)
    return study if seed is None else replace(study, seed=seed, name=f"{study.name}-seed-{seed}")


def _held(folder: Path, given: list[str] | None) -> Any:
    """Return the study whose records a folder holds: of a file that the user names, or one of gatewise."""
    from gatewise.theory.papers import STUDIES
    from gatewise.theory.store import header

    held = header(folder)
    where, tier = str(held["origin"].get("where", "")), held["origin"].get("tier")
    tier, drawn = tier if tier in TIERS else "standard", str(held["origin"].get("seed", ""))
    seed = int(drawn) if drawn.isdecimal() else None
    mine = [_study(one, tier, seed) for one in given or ()]
    named = [one for one in mine if one.name == held["study"]]
    if not named and where in STUDIES:
        return _study(where, tier, seed)
    if not mine:
        raise not_run(folder, "the study", held["study"], where, "--study")
    return (named or mine)[0]


def _place(name: str) -> Path:
    """Return the folder that a path, or the name of a study, stands for."""
    place = Path(name) if Path(name).is_dir() else Path("out") / name
    _require_study(place)
    return place


def _require_study(folder: Path) -> None:
    """Raise for a folder without records of a study, before anything heavy is imported."""
    from gatewise.files import require_there

    require_there(folder / "study.json", f"{folder} is no folder of a study: it has no study.json")


def _shard(text: str) -> tuple[int, int]:
    parts = text.split("/")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"--shard {text}: give i/N, such as 1/4")
    return int(parts[0]), int(parts[1])


@contextmanager
def _progress(name: str) -> Iterator[Callable[[float, float], None]]:
    """Show a bar with the time left on the standard error stream, if it is a terminal."""
    import sys

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    left = (TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False))
    bars = Progress(*columns, *left, console=Console(file=sys.stderr))
    with bars if sys.stderr.isatty() else nullcontext():  # rich 13 ends even a disabled one with a line
        task = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
