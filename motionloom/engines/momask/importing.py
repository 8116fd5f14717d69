"""MoMask's official folder to an engine's: ``checkpoints/t2m`` with a folder for each network."""

from pathlib import Path

from motionloom.engines.importing import Imported, ImportOptions, data_card, model_card, told_encoder
from motionloom.engines.registry import describe_folder
from motionloom.errors import CheckpointError
from motionloom.models.checkpoint import build_model, save_checkpoint
from motionloom.models.importing import one_line, read_official, read_statistic
from motionloom.models.momask import KINDS
from motionloom.models.momask.official import (
    base_from_official,
    length_from_official,
    residual_from_official,
    residual_tokenizer_from_official,
)

_LARGEST = 1 << 16
_NAMES = {"tokenizer": "residual_tokenizer", "base": "momask_base", "residual": "momask_residual"}
_NAMES |= {"length": "momask_length"}


def import_momask(source: Path, out: Path, options: ImportOptions) -> Imported:
    """Read the folder that the release's ``checkpoints/t2m`` (or ``kit``) is.

    It holds folders, each with ``opt.txt`` and ``model/``: one of a masked transformer (``latest.tar``), the tokenizer
    that its ``vq_name`` names and a residual transformer of that tokenizer (``net_best_fid.tar``), and
    ``length_estimator`` (``finest.tar``). The statistics lie in the tokenizer's ``meta/``.

    Raises:
        CheckpointError: A folder or file is missing, holds something else, or several would do.
    """
    if not source.is_dir():
        raise CheckpointError(f"{source} is no folder; give the release's checkpoints/t2m")
    told = {path.parent: _options(path) for path in sorted(source.glob("*/opt.txt"))}
    readers = [path for path in told if "vq_name" in told[path]]
    base = _only(source, "masked transformer", [path for path in readers if "share_weight" not in told[path]])
    vq = source / told[base]["vq_name"]
    if vq not in told:
        raise CheckpointError(f"{base / 'opt.txt'} names the tokenizer {vq.name!r}; {vq} is missing")
    finer = [path for path in readers if "share_weight" in told[path] and told[path]["vq_name"] == vq.name]
    residual = _only(source, "residual transformer", finer)
    mean, std = options.mean or vq / "meta" / "mean.npy", options.std or vq / "meta" / "std.npy"
    stats = {"mean": read_statistic(mean), "std": read_statistic(std, positive=True)}
    found = {}
    file = vq / "model" / "net_best_fid.tar"
    with one_line(file, "MoMask tokenizer"):
        norm = told[vq].get("vq_norm", "None")
        found["tokenizer"] = residual_tokenizer_from_official(
            read_official(file, ("vq_model", "net")),
            activation=told[vq].get("vq_act", "relu"),
            norm=None if norm == "None" else norm,
            dilation_growth=_number(told[vq], "dilation_growth_rate", 3, vq),
        )
    layers = found["tokenizer"][0].quantizers
    file = base / "model" / "latest.tar"
    with one_line(file, "masked transformer of MoMask"):
        state = read_official(file, ("t2m_transformer", "trans"))
        found["base"] = base_from_official(state, quantizers=layers, heads=_number(told[base], "n_heads", 6, base))
    file = residual / "model" / "net_best_fid.tar"
    with one_line(file, "residual transformer of MoMask"):
        state = read_official(file, ("res_transformer",))
        found["residual"] = residual_from_official(state, heads=_number(told[residual], "n_heads", 6, residual))
    file = options.length or source / "length_estimator" / "model" / "finest.tar"
    if file.is_file():
        with one_line(file, "length estimator of MoMask"):
            found["length"] = length_from_official(read_official(file, ("estimator",)))
    if len(stats["mean"]) != found["tokenizer"][0].features or len(stats["std"]) != len(stats["mean"]):
        raise CheckpointError(
            f"{mean} and {std} have {len(stats['mean'])} and {len(stats['std'])} numbers, the tokenizer"
            f" {found['tokenizer'][0].features} features: give those of its data with --mean and --std"
        )
    encoder = told_encoder(options, "clip", sentence_dim=found["base"][0].sentence_dim)
    for name, (config, state) in found.items():
        model = build_model(KINDS[_NAMES[name]], config, state, f"{source}: {name} is not complete")
        save_checkpoint(
            out / name, model, stats if name == "tokenizer" else {}, dict(data_card(source, options)),
            options.licence, model_card(source, options), kinds=KINDS,
        )  # fmt: skip
    describe_folder(out, "momask", text_encoder=encoder)
    missing = () if "length" in found else ("a length estimator (--length FILE): without it, give --seconds",)
    return Imported(tuple(out / name for name in found), "momask", missing)


def _only(source: Path, what: str, found: list[Path]) -> Path:
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise CheckpointError(f"{source} must hold one {what} (a folder with opt.txt and model/); found {names}")
    return found[0]


def _options(path: Path) -> dict[str, str]:
    """The release's ``opt.txt``: lines of ``name: value``."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = file.read(_LARGEST).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read as a text ({type(error).__name__})") from None
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def _number(options: dict[str, str], name: str, default: int, folder: Path) -> int:
    text = options.get(name, str(default)).strip()
    if not text.isdecimal() or len(text) > 6 or int(text) < 1:
        raise CheckpointError(f"{folder / 'opt.txt'}: {name} is {text[:40]!r}; a whole number from 1 is needed")
    return int(text)
