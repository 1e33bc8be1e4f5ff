"""Files: layers as safetensors with a config.json, and sparse blocks in the layout of public checkpoints."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewise.core import codec
from gatewise.core.codec import CodecError, matches
from gatewise.files import atomic_write, require_directory, write_text
from gatewise.nn.hub.architectures import ARCHITECTURES, architecture
from gatewise.nn.hub.blocks import from_state_dict, to_state_dict
from gatewise.nn.hub.logits import WithLogits, unwrapped
from gatewise.nn.hub.settings import build, settings
from gatewise.nn.hub.shared import GatedShared
from gatewise.nn.hub.writing import to_config
from gatewise.nn.layer import MoE

FORMAT = "gatewise layer"
SCHEMA = 2  # 1: gates by their names
WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
Folder = str | os.PathLike[str]


class LayerFile(NamedTuple):
    """What config.json of a layer holds."""

    format: str
    schema: int
    layer: dict[str, Any]
    gated_shared: int | None
    frozen: list[str]


def save_layer(layer: MoE | GatedShared | WithLogits, folder: Folder) -> None:
    """Write a layer to a folder: its state to model.safetensors, how to build it to config.json.

    Parameters
    ----------
    layer : MoE or GatedShared
        Also as it stands in a model for a block.
    folder : path
        Made when missing.

    Raises
    ------
    ImportError
        If safetensors is not installed.
    TypeError
        If `layer` is a model that contains layers.
    ValueError
        If experts, a gate or a temperature are code of the user, or parameters are wrapped, by adapters or pruning.

    Examples
    --------
    >>> import tempfile, torch
    >>> layer = MoE(8, 16, (2, 3), gate=("laplace", "cosine"))
    >>> x = torch.randn(5, 8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_layer(layer, folder)
    ...     again = load_layer(folder)
    >>> bool((again(x) == layer(x)).all())
    True
    """
    layer = unwrapped(layer)
    moe = layer.layer if isinstance(layer, GatedShared) else layer
    if not isinstance(moe, MoE):
        raise TypeError(
            f"layer is a {type(layer).__name__}, save_layer writes one MoE: keep the state_dict of a whole model"
        )
    shared = layer.shared.hidden if isinstance(layer, GatedShared) else None
    frozen = [name for name, value in layer.named_parameters() if not value.requires_grad]
    kept, state = LayerFile(FORMAT, SCHEMA, settings(moe), shared, frozen), layer.state_dict()
    with torch.random.fork_rng(devices=()), torch.device("meta"):  # a new layer draws its gates
        plain = _built(kept).state_dict()
    if strange := sorted(state.keys() ^ plain.keys()):
        raise ValueError(
            f"the layer {'has' if strange[0] in state else 'lacks'} {strange[0]!r}, unlike one that is built anew: "
            "merge its adapters, or remove its pruning or parametrisation, or keep its state_dict"
        )
    _write(folder, state, kept._asdict())


def _built(kept: LayerFile) -> MoE | GatedShared:
    """Return a layer of the shape that a file describes."""
    moe = build(kept.layer)
    return moe if kept.gated_shared is None else GatedShared(moe, kept.gated_shared)


def load_layer(folder: Folder) -> MoE | GatedShared:
    """Read a layer that `save_layer` wrote, on the CPU and in the precision it was saved in. Runs no foreign code.

    Parameters
    ----------
    folder : path
        A folder that `save_layer` wrote.

    Returns
    -------
    MoE or GatedShared

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file.
    ValueError
        If config.json is not of a layer, is of a newer schema, or holds a value that no layer has.

    Examples
    --------
    >>> import tempfile
    >>> from gatewise.nn import MoE, load_layer, save_layer
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_layer(MoE(8, 16, (2, 3)), folder)
    ...     again = load_layer(folder)
    >>> again.router.branching
    (2, 3)
    """
    config = _config(folder)
    if config.get("format") != FORMAT:
        raise ValueError(f"{folder}/{CONFIG} is not of a gatewise layer: give a folder that save_layer wrote")
    schema = config.get("schema", 0)
    if matches(schema, int) and schema > SCHEMA:
        raise ValueError(f"{folder} has schema {schema}, this gatewise reads up to {SCHEMA}: upgrade gatewise")
    try:
        kept = codec.build(LayerFile, config)
        layer = _built(kept)
    except ValueError as cause:
        raise CodecError(f"{folder}/{CONFIG} is not of a layer: {cause}; save the layer again") from cause
    layer.load_state_dict(_read(folder, ""), assign=True)
    parameters = dict(layer.named_parameters())
    if strange := [name for name in kept.frozen if name not in parameters]:
        raise ValueError(f"{folder}/{CONFIG} freezes {strange[0]!r:.80}, which is no parameter of the layer")
    for name in kept.frozen:
        parameters[name].requires_grad_(False)
    return layer


def load_block(folder: Folder, prefix: str, **extra: Any) -> MoE | GatedShared:
    """Return the layer that a sparse block of a public checkpoint describes; only its weights are read.

    Parameters
    ----------
    folder : path
        With config.json and model.safetensors, or its parts and their index.
    prefix : str
        What stands before the names of the block, such as "model.layers.0.block_sparse_moe." for Mixtral.
    **extra
        See `from_state_dict`.

    Returns
    -------
    MoE or GatedShared

    Examples
    --------
    >>> import tempfile
    >>> from gatewise.nn import MoE, load_block, save_block
    >>> layer, prefix = MoE(8, 16, 4, activation="swiglu", bias=False), "model.layers.0.block_sparse_moe."
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_block(layer, folder, "mixtral", prefix)
    ...     again = load_block(folder, prefix)
    >>> again.router.branching
    (4,)
    """
    config, state = _config(folder), _read(folder, prefix)
    config = config if "model_type" not in config else _text(config)
    if not state:
        raise KeyError(f"no weight in {folder} begins with {prefix!r}: {_blocks(Path(folder))}")
    if "model_type" not in config:
        raise KeyError(f"{folder}/{CONFIG} lacks model_type, the style of its blocks: use from_state_dict")
    _require_files(config["model_type"])
    return from_state_dict(state, config["model_type"], config, prefix, **extra)


def save_block(layer: MoE | GatedShared | WithLogits, folder: Folder, style: str, prefix: str) -> None:
    """Write a layer in the layout of public checkpoints: model.safetensors, and its fields of config.json.

    Parameters
    ----------
    layer : MoE or GatedShared
        Also as it stands in a model for a block.
    folder : path
        Made when missing.
    style : str
        A model type of the table in docs/guide/engineer/sparse-blocks.md, such as "mixtral".
    prefix : str
        What stands before every name.

    Raises
    ------
    ValueError
        If the style is unknown, has no place for what the layer does, or its checkpoints keep the parts of a block in
        several places.

    Examples
    --------
    >>> import tempfile
    >>> from gatewise.nn import MoE, load_block, save_block
    >>> layer, prefix = MoE(8, 16, 4, activation="swiglu", bias=False), "model.layers.0.block_sparse_moe."
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_block(layer, folder, "mixtral", prefix)
    ...     again = load_block(folder, prefix)
    >>> again.router.branching
    (4,)
    """
    _require_files(style)
    _write(folder, to_state_dict(layer, style, prefix), to_config(layer, style))


def _text(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config of the text model where a config.json holds several."""
    inner = config.get("text_config")
    known = isinstance(inner, dict) and inner.get("model_type") in ARCHITECTURES
    return inner if known and isinstance(inner, dict) else config


def _require_files(style: str) -> None:
    """Raise unless checkpoints of a style hold a block under one prefix, by names that are known."""
    if not architecture(style).files:
        raise ValueError(
            f"checkpoints of style {style!r} hold a block by other names: load and save the model with transformers, "
            "and use from_block and to_block"
        )


def _write(folder: Folder, state: dict[str, Tensor], config: dict[str, Any]) -> None:
    """Write both files, the one that makes the folder readable last."""
    tensors = {name: value.detach().contiguous() for name, value in state.items()}
    text = json.dumps(config, indent=1, allow_nan=False) + "\n"
    target, safetensors = require_directory(folder), _safetensors()
    with atomic_write(target / WEIGHTS) as scratch:
        try:
            safetensors.torch.save_file(tensors, scratch, metadata={"format": "pt"})
        except safetensors.SafetensorError as cause:
            raise OSError(
                f"{target / WEIGHTS} cannot be written ({cause}): make room, or give another folder"
            ) from cause
    write_text(target / CONFIG, text)


def _config(folder: Folder) -> dict[str, Any]:
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: give a folder with {CONFIG} and {WEIGHTS}")
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as cause:
        raise ValueError(f"{path} is no JSON ({cause}): it was cut short or altered; save or fetch it again") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} is JSON but holds no settings: give a folder that save_layer wrote, or a checkpoint")
    return config


def _read(folder: Folder, prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with the prefix, from one file or from parts, in memory of their own."""
    open_file = _safetensors().safe_open
    out: dict[str, Tensor] = {}
    for path in _parts(Path(folder), prefix):
        if not path.is_file():
            raise FileNotFoundError(f"there is no {path}: the checkpoint is not complete; fetch or save it again")
        with open_file(path, "pt") as file:
            out |= {name: file.get_tensor(name).clone() for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
    return out


def _parts(folder: Path, prefix: str) -> list[Path]:
    """Return the files that hold names with the prefix."""
    index = folder / INDEX
    if not index.is_file():
        return [folder / WEIGHTS]
    files = json.loads(index.read_text("utf-8"))["weight_map"]
    parts = sorted({part for name, part in files.items() if name.startswith(prefix)})
    if outside := [part for part in parts if Path(part).name != part or part in ("", "..")]:
        raise ValueError(f"{index} names {outside[0]!r}, which is not a file of its folder: fetch the checkpoint again")
    return [folder / part for part in parts]


def _blocks(folder: Path) -> str:
    """Return in words what stands before the names of the sparse blocks in a folder."""
    index = folder / INDEX
    if index.is_file():
        names = list(json.loads(index.read_text("utf-8"))["weight_map"])
    else:
        with _safetensors().safe_open(folder / WEIGHTS, "pt") as file:
            names = list(file.keys())
    found = dict.fromkeys(name.partition("experts.0.")[0] for name in names if "experts.0." in name)
    return f"its sparse blocks begin with {', '.join(map(repr, [*found][:4]))}" if found else "it has no sparse block"


def _safetensors() -> ModuleType:
    """Return safetensors, its part for torch too."""
    try:
        import safetensors
        import safetensors.torch
    except ImportError as cause:
        raise ImportError("files of layers need safetensors: pip install gatewise[hub]") from cause
    return safetensors
