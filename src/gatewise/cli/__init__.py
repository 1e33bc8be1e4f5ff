"""The command line. Each command imports heavy packages only when it runs.

Exit codes: 0 success (whatever the status of the fit, which is printed), 2 invalid arguments or data, 1 an internal
error of gatewise, 130 interrupted.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewise import __version__
from gatewise.cli.common import TRACEBACK, clear_faults, cluster
from gatewise.cli.common import console as console_of
from gatewise.cli.experiment import app as experiment_app
from gatewise.cli.study import app as study_app
from gatewise.cli.tables import Asked, AskedCluster, fit_asked, names, predicted

app = typer.Typer(
    name="gatewise",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Sep = Annotated[str, typer.Option(help="Character between the columns of a CSV file: ';', or tab.")]
Decimal = Annotated[str, typer.Option(help="Decimal mark of the numbers of a CSV file: . or ,")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and what was asked for.")]
MISSING_MODEL = "there is no model file {}: check the path, or save a model there first"
data_app = typer.Typer(no_args_is_help=True, help="The data sets that come with gatewise, and where to get others.")
app.add_typer(data_app, name="data")
app.add_typer(study_app, name="study")
app.add_typer(experiment_app, name="experiment")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gatewise {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print version.")
    ] = False,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error was raised.")] = False,
) -> None:
    """Mixtures of experts with any gate, in one or several levels, with certified optima."""
    TRACEBACK.set(traceback)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Directory for the page; created if missing.")] = Path("out"),
    quick: Annotated[bool, typer.Option("--quick", help="Two data sets instead of four.")] = False,
) -> None:
    """Fit classic data sets with several gates, print tables, and write an HTML page."""
    with clear_faults():
        from gatewise import data
        from gatewise.files import require_directory, write_text
        from gatewise.report import demo as cases
        from gatewise.report import render, results_table, status_lines
        from gatewise.report.progress import listening

        folder, console, sections = require_directory(out), console_of(), []
        chosen = [case for case in cases.CASES if case.name in cases.QUICK or not quick]
        with listening() as (progress, listener):
            overall = progress.add_task("all fits", total=sum(len(case.choices) for case in chosen))
            ended = count()

            def tick(label: str) -> None:
                progress.update(overall, completed=next(ended))
                listener.begin(label)

            for case in chosen:
                sections.append(cases.run_case(case, data.load(case.name), cases.STARTS, tick, listener))
        command = "gatewise demo" + (" --quick" if quick else "")
        page = folder / "index.html"
        write_text(page, render(cases.page(sections, command, __version__)))
        for section in sections:
            console.print(results_table(section.title, section.fits))
        _print_words(console, status_lines([one for section in sections for one in section.fits]))
        console.print("hits: starts that reached the best value; *: lowest BIC in the table; s: seconds", markup=False)
        typer.echo(f"\nwrote {page}: open it in a browser")


def _print_words(console: Any, lines: list[Any]) -> None:
    from rich.padding import Padding

    for line in lines:
        console.print(Padding(line, (0, 0, 0, 2), expand=False))


def _one_or_list(text: str) -> str | list[str]:
    given = names(text)
    return list(given) if len(given) > 1 else text.strip()


def _branching(text: str) -> int | tuple[int, ...]:
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"--experts {text}: give a whole number, or one per level separated by commas, such as 2,2")
    levels = tuple(int(part) for part in parts)
    return levels if len(levels) > 1 else levels[0]


@app.command()
def fit(
    tables: Annotated[
        list[Path], typer.Argument(metavar="DATA...", help="A CSV file with a header line, or Parquet files.")
    ],
    target: Annotated[str | None, typer.Option(help="Column of the response; several: a,b.")] = None,
    features: Annotated[str | None, typer.Option(help="Inputs of the experts, a,b; default: all others.")] = None,
    gate_features: Annotated[str | None, typer.Option(help="Inputs of the gates; default: the features.")] = None,
    gate: Annotated[str, typer.Option(help="Name of a gate, or one per level: laplace,softmax.")] = "softmax",
    experts: Annotated[str, typer.Option(help="Number of experts, or one per level: 2,2.")] = "2",
    expert: Annotated[str, typer.Option(help="Name of an expert, or one per expert: linear,constant.")] = "linear",
    family: Annotated[str, typer.Option(help="Distribution of the target, or one per expert.")] = "gaussian",
    zero_inflated: Annotated[bool, typer.Option("--zero-inflated", help="Add a branch of zeros, for counts.")] = False,
    noise: Annotated[bool, typer.Option("--noise", help="Add a branch of noise, uniform on the range.")] = False,
    method: Annotated[str, typer.Option(help="ml (maximum likelihood), em, or ls (least squares).")] = "ml",
    starts: Annotated[int, typer.Option(help="Number of starts.")] = 20,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal fits.")] = 0,
    weights: Annotated[str | None, typer.Option(help="Column of frequency weights.")] = None,
    groups: Annotated[str | None, typer.Option(help="Column of group labels; a group shares an expert.")] = None,
    formula: Annotated[str | None, typer.Option(help="In place of --target: 'y ~ x + C(site)'.")] = None,
    gate_formula: Annotated[str | None, typer.Option(help="Inputs of the gates, '~ z'; with --formula.")] = None,
    offset: Annotated[str | None, typer.Option(help="Column or expression, 'log(hours)'; with --formula.")] = None,
    trials: Annotated[str | None, typer.Option(help="Column of numbers of trials; with --formula.")] = None,
    shared: Annotated[
        str | None, typer.Option(help="Terms that all experts share, separated by ;. With --formula.")
    ] = None,
    sep: Sep = ",",
    decimal: Decimal = ".",
    alpha: Annotated[float, typer.Option(help="Ridge penalty on gate slopes.")] = 0.0,
    min_scale: Annotated[float | None, typer.Option(help="Least standard deviation, in units of the target.")] = None,
    max_time: Annotated[float | None, typer.Option(help="Seconds after which the best fit so far is used.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda to let a GPU sum over the rows.")] = "cpu",
    dask: Annotated[str, typer.Option(metavar="ADDRESS", help="Let the workers of a Dask scheduler read.")] = "",
    checkpoint: Annotated[Path | None, typer.Option(help="With --dask: keep every pass in this file.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint, if it is there.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the model to this JSON file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a report to this HTML file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Fit a mixture of experts to a CSV file, a Parquet file or a folder of Parquet files."""
    with clear_faults():
        from gatewise.files import require_different, require_there, require_writable

        roles = (target, features, gate_features, weights, groups, formula, gate_formula, offset, trials, shared)
        asked = Asked(*roles, sep, decimal)
        asked.check()
        choice: dict[str, Any] = {"n_experts": _branching(experts), "gate": _one_or_list(gate)}
        choice |= {"expert": _one_or_list(expert), "family": _one_or_list(family)}
        choice |= {name: True for name, given in (("zero_inflated", zero_inflated), ("noise", noise)) if given}
        choice |= {"method": method, "n_init": starts, "random_state": seed}
        choice |= {"alpha": alpha, "min_scale": min_scale, "max_time": max_time}
        choice |= {} if device == "cpu" else {"device": device}
        require_different(*tables, out, report, checkpoint)
        for path in tables:
            require_there(path)
        for path in filter(None, (out, report)):
            require_writable(path)
        _check_checkpoint(dask, checkpoint, resume)
        from gatewise.report.progress import listening

        with cluster(dask) as client, listening() as (_, listener):
            listener.begin("fit")
            where = AskedCluster(client, checkpoint)
            prepared, outcome = fit_asked(tables, asked, choice, report is not None, listener, where)
        _write(
            tables[0], prepared, outcome, out, report, quiet
        )  # before anything is said about the fit: saying may fail
        _tell(outcome, prepared, as_json, quiet)


def _check_checkpoint(dask: str, checkpoint: Path | None, resume: bool) -> None:
    """Raise for a checkpoint without a cluster, and for one that is there and not asked for."""
    if (checkpoint or resume) and not dask:
        raise ValueError("--checkpoint and --resume are for fits on a cluster: give --dask ADDRESS too")
    if resume and checkpoint is None:
        raise ValueError("--resume is given without --checkpoint: name the file to go on from")
    if checkpoint is not None and not resume:
        from gatewise.runs.journal import require_no_file

        require_no_file(checkpoint, "give --resume")


def _tell(outcome: Any, prepared: Any, as_json: bool, quiet: bool) -> None:
    """Print the fit as a text or as JSON."""
    from gatewise.report import facts

    if as_json:
        found = {"gatewise": __version__, "rows": prepared.rows, "rows_dropped": prepared.dropped}
        found |= {**facts(outcome.model), "remarks": list(outcome.remarks), "seconds": outcome.fitted.seconds}
        summary = outcome.model.summary()
        for name, frame in (("proportions", summary.proportions), ("parameters", summary.to_frame())):
            found[name] = json.loads(frame.to_json(orient="records", double_precision=15))  # null for what is unknown
        typer.echo(json.dumps(found, indent=1, allow_nan=False))
    if as_json or quiet:
        return
    if prepared.dropped:
        typer.echo(f"{prepared.dropped} rows with missing values were left out, {prepared.rows} are used\n")
    typer.echo(outcome.model.summary())
    for remark in outcome.remarks:
        typer.echo(f"Warning: {remark}")


def _write(table: Path, prepared: Any, outcome: Any, out: Path | None, report: Path | None, quiet: bool) -> None:
    from gatewise.estimators import save_model
    from gatewise.files import write_text
    from gatewise.report import own_data, render

    for path in filter(None, (out, report)):
        again = " (in place of an earlier file)" if path.exists() else ""
        if path is out:
            save_model(outcome.model, path)
        else:
            command = shlex.join(["gatewise", *sys.argv[1:]])
            page = own_data.page_of(str(table), prepared, outcome, command, __version__)
            write_text(path, render(page))
        if not quiet:
            typer.echo(f"wrote {path}{again}", err=True)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL.json", help="Model written by gatewise fit --out.")],
    table: Annotated[Path, typer.Argument(metavar="DATA", help="CSV or Parquet with the columns used in the fit.")],
    interval: Annotated[
        float | None, typer.Option(metavar="LEVEL", help="Add a prediction interval of this level, such as 0.9.")
    ] = None,
    expert: Annotated[
        bool, typer.Option("--class", "--expert", help="Add the most probable expert, before the target is seen.")
    ] = False,
    gate: Annotated[bool, typer.Option("--gate", help="Add the weight of every expert.")] = False,
    proba: Annotated[bool, typer.Option("--proba", help="Add the probability of every class.")] = False,
    sep: Sep = ",",
    decimal: Decimal = ".",
    out: Annotated[Path | None, typer.Option(help="Write the predictions to this file; default: print them.")] = None,
    quiet: Quiet = False,
) -> None:
    """Predict the target for every row: its mean, or its class. Rows with missing values get an empty prediction."""
    with clear_faults():
        from gatewise.files import atomic_write, require_different, require_there, require_writable

        require_different(model, table, out)
        require_there(model, MISSING_MODEL)
        require_there(table)
        if out:
            require_writable(out)
        from gatewise.estimators import load_model
        from gatewise.report.predicting import PredictionColumns

        pieces = predicted(load_model(model), table, PredictionColumns(interval, expert, gate, proba), sep, decimal)
        if out is None:
            empty = _print_pieces(pieces, sys.stdout)
        else:
            with atomic_write(out) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
                empty = _print_pieces(pieces, file)
        if empty:
            typer.echo(f"{empty} rows with missing values have no prediction", err=True)
        if out and not quiet:
            typer.echo(f"wrote {out}", err=True)


def _print_pieces(pieces: Iterable[tuple[Any, int]], file: Any) -> int:
    """Write one table that comes in pieces, and return how many rows have no prediction."""
    missing = 0
    for number, (prediction, empty) in enumerate(pieces):
        file.write(prediction.to_csv(index=False, header=not number))
        missing += empty
    return missing


@app.command()
def card(
    model: Annotated[Path, typer.Argument(metavar="MODEL.json", help="Model written by gatewise fit --out.")],
    name: Annotated[str, typer.Option(help="Title of the card; default: what the model is.")] = "",
    license: Annotated[str, typer.Option(help="Licence of the model in the words of the hub: cc-by-4.0.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write the card to this file, README.md; default: print it.")] = None,
    quiet: Quiet = False,
) -> None:
    """Write the model card of a model: Markdown as the Hugging Face hub shows it, to be completed by you."""
    with clear_faults():
        from gatewise.files import require_different, require_there, require_writable, write_text

        require_different(model, out)
        require_there(model, MISSING_MODEL)
        if out:
            require_writable(out)
        from gatewise.estimators import load_model
        from gatewise.report.card import model_card

        text = model_card(load_model(model), name=name, license=license, file=model.name)
        if out is None:
            typer.echo(text)
            return
        write_text(out, text + "\n")
        if not quiet:
            typer.echo(f"wrote {out}: complete what says [More Information Needed]", err=True)


@app.command()
def plan(
    rows: Annotated[float, typer.Option(help="Number of rows, such as 1e9.")],
    features: Annotated[int, typer.Option(help="Number of features.")],
    experts: Annotated[int, typer.Option(help="Number of experts.")] = 2,
    workers: Annotated[int, typer.Option(help="Number of worker processes.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of every worker.")] = 1,
    gate: Annotated[str, typer.Option(help="Name of a gate.")] = "softmax",
    dask: Annotated[str, typer.Option(metavar="ADDRESS", help="Measure on a worker of this Dask scheduler.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Predict time, memory and traffic of a fit from Parquet files on a cluster, from constants measured now."""
    with clear_faults():
        from gatewise.report import cost

        with cluster(dask) as client:
            found = cost.planned(rows, features, experts, workers, threads, gate, client)
        if as_json:
            typer.echo(json.dumps({"gatewise": __version__, **cost.as_json(found)}, indent=1, allow_nan=False))
        else:
            typer.echo(cost.shown(found))


@app.command()
def identify(
    gate: Annotated[str, typer.Option(help="Name of a gate, or outer,inner for two levels.")] = "softmax",
    expert: Annotated[str, typer.Option(help="Name of an expert.")] = "linear",
    estimator: Annotated[str, typer.Option(help="ml (maximum likelihood) or ls (least squares).")] = "ml",
    order: Annotated[int, typer.Option(help="Highest order of the derivatives, 1 or 2.")] = 2,
    atoms: Annotated[int, typer.Option(help="1, or 2 to include relations between two experts.")] = 1,
    shared_gate: Annotated[
        bool, typer.Option("--shared-gate", help="Whether the two experts have equal gates.")
    ] = False,
    d: Annotated[int, typer.Option(help="Number of features.")] = 2,
    held: Annotated[str | None, typer.Option(help="Fixed parameters, a,b.")] = None,
    regime: Annotated[int | None, typer.Option(help="Sigmoid gates only: 1 zero slopes, 2 general slopes.")] = None,
    family: Annotated[str | None, typer.Option(help="Name of a family, for ml; by default gaussian.")] = None,
    outputs: Annotated[int, typer.Option(help="Number of responses.")] = 1,
    group_size: Annotated[int, typer.Option(help="Number of rows that share an expert, for ml.")] = 1,
    proof: Annotated[bool, typer.Option("--proof", help="Prove the relations, and that there are no others.")] = False,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal draws.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Check which parameters of a gate and an expert are identifiable, and what this means for rates."""
    with clear_faults():
        from gatewise.infer.identifiability import identify as check
        from gatewise.report import identify as report

        choice: dict[str, Any] = {
            "order": order,
            "atoms": atoms,
            "shared_gate": shared_gate,
            "d": d,
            "held": names(held),
            "family": family,
            "outputs": outputs,
            "group_size": group_size,
            "proof": proof,
        }
        found = check(names(gate), expert, estimator, regime=regime, seed=seed, **choice)
        if as_json:
            typer.echo(json.dumps({"gatewise": __version__, **report.as_json(found)}, indent=1, allow_nan=False))
        else:
            console = console_of()
            console.print(report.shown(found, console.width))


@data_app.command("list")
def list_data(
    data_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with your own data sets.")] = None,
) -> None:
    """List the data sets with size, source and licence, and how to get those that gatewise does not include."""
    with clear_faults():
        from rich import box
        from rich.table import Table

        from gatewise import data
        from gatewise.data.installed import present, sources

        shown = Table("name", "rows", "columns", "source", "licence", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in data.names():
            entry = data.describe(name)
            shown.add_row(entry.name, str(entry.n), ", ".join(entry.columns), entry.source, entry.licence)
        console_of().print(shown)
        typer.echo("Other data sets, for the experiments. gatewise downloads nothing; it verifies checksums:")
        for one in sources():
            typer.echo(
                f"\n{one.name} ({'installed' if present(one, data_dir) else 'not installed'}, {one.size}): {one.holds}"
            )
            typer.echo(f"  licence: {one.licence}\n  how to get it: {one.install}")


def main() -> None:
    """Run the command line."""
    given = sys.argv[1:]
    asked = [word for word in given if word == "--traceback"]  # anywhere, also where it is added to a command
    app(prog_name="gatewise", args=asked[:1] + [word for word in given if word != "--traceback"])


if __name__ == "__main__":
    main()
