"""Commands for the applied experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewise.cli.common import clear_faults, cluster, console, not_run, of_name_or_file, whole_name

app = typer.Typer(no_args_is_help=True, help="Applied experiments: run, resume, compare gates.")

Given = Annotated[
    str, typer.Option("--experiment", metavar="FILE.py:NAME", help="The experiment's file; it is executed.")
]


@app.command("list")
def list_experiments() -> None:
    """List the experiments with their variants and gates."""
    with clear_faults():
        from rich import box
        from rich.markup import escape
        from rich.table import Table

        from gatewise.cli.listing import listed

        for one in listed("experiments"):
            shown = Table("variants", "baselines and gates", box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
            shown.title = escape(f"{one['name']}: {one['title']}")
            shown.add_row(*(escape("\n".join(one[names])) for names in ("variants", "models")))
            console().print(shown)


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME|all", help="An experiment of the list, or my_task.py:task.")],
    quick: Annotated[bool, typer.Option("--quick", help="Two seeds, short runs: a smoke test.")] = False,
    seeds: Annotated[int, typer.Option(help="Number of seeds per gate.", min=1)] = 10,
    gates: Annotated[str, typer.Option(help="Gates, separated by commas: names, or pairs such as ss,sl,ls,ll.")] = "",
    variants: Annotated[str, typer.Option(help="Variants, separated by semicolons; default: all.")] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    data_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with your own data sets.")] = None,
    workers: Annotated[int, typer.Option(help="Processes, one thread each.", min=1)] = 1,
    dask: Annotated[str, typer.Option(metavar="ADDRESS", help="Run on the workers of a Dask scheduler.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the runs in the folder.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder; default out/NAME or out/NAME-quick.")] = None,
) -> None:
    """Run an experiment, compare the gates, and write its page."""
    with clear_faults():
        from gatewise.experiments import EXPERIMENTS, run_experiment

        home, ran = out if name == "all" and out else Path("out"), []
        for experiment in EXPERIMENTS.values() if name == "all" else (_experiment(name),):
            if name == "all" and (words := _absent(experiment, data_dir)):
                typer.echo(f"{experiment.name} is skipped: {words}", err=True)
                continue
            if not variants and (words := _absent(experiment, data_dir)) and not experiment.needs_folder:
                raise ValueError(f"{experiment.name}: {words}; or choose --variants that do not need it")
            folder = out if out and name != "all" else home / (experiment.name + ("-quick" if quick else ""))
            try:
                with cluster(dask) as client, _progress(experiment.name) as tell:
                    run_experiment(
                        experiment,
                        folder,
                        seeds=seeds,
                        gates=_parts(gates, ","),
                        variants=_parts(variants, ";"),
                        quick=quick,
                        device=device,
                        data=data_dir,
                        resume=resume,
                        workers=client or workers,
                        listener=tell,
                        origin="" if name == "all" or name in EXPERIMENTS else whole_name(name),
                    )
            except KeyboardInterrupt:
                typer.echo(f"\nfinished runs are in {folder}: continue with the same command and --resume", err=True)
                raise
            _tell(experiment, folder)
            ran.append((folder, experiment))
        if len(ran) > 1:
            from gatewise.report.experiment.front import write_front

            write_front(ran, home / "experiments.html")
            typer.echo(f"wrote {home / 'experiments.html'}: open it in a browser")


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME|DIR", help="An experiment, my_task.py:task, or a folder with records.")
    ],
    given: Given = "",
) -> None:
    """Print what an experiment fixes before it runs; of a folder with records the comparison of the gates too."""
    with clear_faults():
        from gatewise.report.experiment.definition import definition

        folder = Path(name) if Path(name).is_dir() else None
        experiment = _experiment(name) if folder is None else _held(folder, given)
        console().print(definition(experiment))
        if folder is not None:
            _compare(experiment, folder)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with records.")],
    given: Given = "",
) -> None:
    """Compare the gates of a folder and write its page."""
    with clear_faults():
        _tell(_held(folder, given), folder)


@app.command()
def pack(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders with records, of any experiments.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write.")] = Path("experiments.tar.xz"),
) -> None:
    """Put the records of experiments into one compressed file with check sums, versions and costs."""
    with clear_faults():
        from gatewise.experiments import pack_experiments

        index = pack_experiments(folders, out)
        runs, count = sum(one["runs"] for one in index["folders"].values()), len(index["folders"])
        held = f"{count} {'folder' if count == 1 else 'folders'}, {runs} runs, {out.stat().st_size / 1e6:.1f} MB"
        typer.echo(f"wrote {out}: {held}; next: gatewise experiment unpack {out}")


@app.command()
def unpack(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Written by `gatewise experiment pack`.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the folders of the experiments.")] = Path("out"),
) -> None:
    """Unpack experiments, compare their gates, and write their pages (for several, also a front page)."""
    with clear_faults():
        from gatewise.experiments import unpack_experiments
        from gatewise.report.experiment.front import write_front
        from gatewise.report.experiment.write import write_experiment

        found = [(folder, _held(folder, "")) for file in files for folder in unpack_experiments(file, out)]
        for folder, experiment in found:
            typer.echo(f"wrote {write_experiment(experiment, folder)}")
        if len(found) > 1:
            write_front(found, out / "experiments.html")
            typer.echo(f"wrote {out / 'experiments.html'}: open it in a browser")


def _held(folder: Path, given: str) -> Any:
    """Return the experiment whose records a folder holds: of a file that the user names, or one of gatewise."""
    from gatewise.experiments import EXPERIMENTS
    from gatewise.experiments.store import header

    found = header(folder)
    if not given and (found["origin"] or found["experiment"] not in EXPERIMENTS):
        raise not_run(folder, "the experiment", found["experiment"], found["origin"], "--experiment")
    experiment = _experiment(given or found["experiment"])
    if experiment.name != found["experiment"]:
        raise ValueError(
            f"{folder} holds {found['experiment']!r}, not {experiment.name!r}: give the file of that experiment"
        )
    return experiment


def _absent(experiment: Any, folder: Path | None) -> str:
    """Return which data of an experiment are not there, and how to get them; empty if all are."""
    from gatewise.data import present, source

    if experiment.needs_folder:
        return "it needs your data: run it by name with --data-dir"
    needed = [source(name) for name in experiment.needs]
    return "; ".join(f"{one.name} is not installed ({one.install})" for one in needed if not present(one, folder))


def _experiment(name: str) -> Any:
    """Return an experiment by name or from a user's file."""
    from gatewise.experiments import EXPERIMENTS, load_experiment

    return of_name_or_file("experiment", name, EXPERIMENTS, load_experiment)


def _tell(experiment: Any, folder: Path) -> None:
    from gatewise.report.experiment.write import write_experiment

    page = write_experiment(experiment, folder)  # before anything is said about it
    _compare(experiment, folder)
    typer.echo(f"wrote {page}: open it in a browser")


def _compare(experiment: Any, folder: Path) -> None:
    from gatewise.experiments.compare import at_chosen_rates, gates_in
    from gatewise.experiments.store import read, seconds
    from gatewise.report.experiment.write import shown, told

    records, faults = read(folder)
    records, left = at_chosen_rates(experiment, records)
    for fault in [*faults, *left]:
        typer.echo(f"warning: {fault}", err=True)
    for variant in experiment.variants:
        if gates_in(experiment, records, variant):
            console().print(shown(experiment, records, variant))
            if lines := told(experiment, records, variant):
                typer.echo(f"{experiment.claim[2]}? {' - '.join(experiment.claim[:2])}:")
                typer.echo("\n".join(f"  {line}" for line in lines) + "\n")
    if minutes := seconds(folder) / 60:
        tried = sum(record.tuning for record in records)
        more = f", {tried} more to select learning rates" if tried else ""
        typer.echo(f"{len(records) - tried} runs{more}, {minutes:.1f} min of processor time")


def _parts(text: str, mark: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(mark) if part.strip())


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int, Any], None]]:
    """Show a progress bar with the time left on the error stream, when it is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def tell(done: int, total: int, job: Any) -> None:
            bar.update(task, completed=done, total=total, description=f"{job.variant}: {job.gate}")

        yield tell
