"""Training a motion tokenizer: windows of features, and a loss that also poses the body.

The published loss compares features. Ours adds what users see: joints posed by the decoded rotations (rotations are
the truth, so an error near the root must cost what it moves), their steps from frame to frame, and the drift of the
root over the window.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from motionloom.data.loader import FeatureSet, Stats
from motionloom.data.store import Store
from motionloom.metrics.pose import rotation_error
from motionloom.models.checkpoint import save_checkpoint
from motionloom.models.tokenizers.body_parts import BodyTokenizer, BodyTokenizerConfig
from motionloom.models.tokenizers.motion import MotionTokenizer, TokenizerConfig, TokenizerOutput
from motionloom.motion import rotations as rot
from motionloom.motion.features.humanml3d import decode_rotations
from motionloom.motion.features.layout import LAYOUTS, root_path
from motionloom.motion.kinematics import forward_kinematics
from motionloom.motion.skeleton import CANONICAL
from motionloom.schema import ranged
from motionloom.training.cards import Origins, card
from motionloom.training.recipes import Recipe
from motionloom.training.started import started_stats
from motionloom.training.task import Step

_SLICES = LAYOUTS["humanml3d"].slices


@dataclass(frozen=True)
class TokenizerData:
    """What a tokenizer is trained on."""

    window: int = ranged(64, low=2, high=100_000, unit="frames", help="Length of a window.")
    fps: float = ranged(20.0, low=1, high=240, help="Frame rate of the features.")
    power: float = ranged(0.0, low=0, high=1, help="Label groups are drawn in proportion to frames ** (1 - power).")
    decoder_only: bool = False
    """Leave encoder and codes as they are: tokens stay what they were, only what is made of them gets better."""


@dataclass(frozen=True)
class TokenizerLoss:
    """Weights of the loss terms."""

    yaw: float = 10.0
    velocity: float = 10.0
    height: float = 5.0
    positions: float = 1.5
    rotations: float = 1.5
    velocities: float = 1.0
    contacts: float = 0.5
    steps: float = 1.0
    """Steps of the local positions from frame to frame."""
    posed: float = 2.0
    """Joints posed by the decoded rotations."""
    posed_steps: float = 1.0
    """Their steps from frame to frame."""
    feet: float = 1.0
    """Steps of ankles and toes over the ground: what shows as sliding."""
    drift: float = 0.4
    """Root path and heading summed up over the window."""
    commitment: float = 0.02
    """Distance of latents to their codes."""
    beta: float = 0.3
    """Where SmoothL1 turns from square to linear."""


def posed_joints(features: Float[Tensor, "B T 263"]) -> Float[Tensor, "B T 18 3"]:
    """Joints 4..21 in the facing frame [m], posed by the 6D rotations from where hips and spine stand."""
    turns = rot.from_6d(features[..., _SLICES["rotations"]].unflatten(-1, (21, 6)))
    places = features[..., _SLICES["positions"]].unflatten(-1, (21, 3))
    offsets = CANONICAL.offsets.to(features)
    world: dict[int, Tensor] = {joint: turns[..., joint - 1, :, :] for joint in (1, 2, 3)}
    position: dict[int, Tensor] = {joint: places[..., joint - 1, :] for joint in (1, 2, 3)}
    for joint in range(4, 22):
        parent = CANONICAL.parents[joint]
        position[joint] = position[parent] + world[parent] @ offsets[joint]
        world[joint] = world[parent] @ turns[..., joint - 1, :, :]
    return torch.stack([position[joint] for joint in range(4, 22)], dim=-2)


def ground_feet(
    features: Float[Tensor, "B T 263"], heading: Float[Tensor, "B T"], path: Float[Tensor, "B T 3"]
) -> Float[Tensor, "B T1 4 3"]:
    """Steps of ankles and toes in the world from frame to frame [m], posed by the 6D rotations."""
    posed = posed_joints(features)[..., [3, 4, 6, 7], :]
    world = rot.rotate(rot.about("Y", heading)[..., None, :].expand(*posed.shape[:-1], 4), posed)
    places = world + path[..., None, :] * torch.tensor([1.0, 0.0, 1.0]).to(path)
    return places[:, 1:] - places[:, :-1]


def read(recipe: Recipe) -> tuple[TokenizerConfig, TokenizerData, TokenizerLoss]:
    """The tables of a recipe.

    Raises:
        TrainingError: A value does not fit.
    """
    kind = BodyTokenizerConfig if recipe.kind == "body_tokenizer" else TokenizerConfig
    return recipe.table("model", kind), recipe.table("data", TokenizerData), recipe.table("loss", TokenizerLoss)


class TokenizerTask:
    """A tokenizer in the training loop."""

    def __init__(self, recipe: Recipe, store: Path) -> None:
        self.config, self.data, self.weights = read(recipe)
        self.store = Store(store)
        self.windows = FeatureSet(self.store, "train", self.data.fps)
        self.held_out = FeatureSet(self.store, "val", self.data.fps)
        self.chances = self.windows.weights(self.data.power) if self.data.power else None
        self.stats = started_stats(recipe.train.init) or self.windows.stats()
        if isinstance(self.config, BodyTokenizerConfig):
            model = BodyTokenizer(self.config)
            model.std.copy_(self.stats.std)
        else:
            model = MotionTokenizer(self.config)
        if self.data.decoder_only:
            for name, weight in model.named_parameters():
                weight.requires_grad_(name.startswith("decoder."))
        self.model: nn.Module = model

    def prepare(self) -> None:
        """See that the test split has clips; windows are cut from features that are encoded already."""
        FeatureSet(self.store, "test", self.data.fps)

    def loss(self, model: nn.Module, step: Step) -> dict[str, Tensor]:
        """Loss terms of one batch of windows."""
        rng = np.random.default_rng([step.seed, step.index, step.rank])
        truth = self.windows.windows(step.items, self.data.window, rng, self.chances).features
        device = next(model.parameters()).device
        truth = truth.to(device)
        wanted = self.stats.normalize(truth)
        output = self._decoded(model, wanted) if self.data.decoder_only else model(wanted)
        with torch.autocast(device.type, enabled=False):
            return self._terms(output.reconstruction.float(), wanted, truth, output)

    def _decoded(self, model: nn.Module, wanted: Tensor) -> TokenizerOutput:
        """One pass in which only the decoder learns."""
        assert isinstance(model, MotionTokenizer | BodyTokenizer)
        with torch.no_grad():
            ids = model.encode(wanted)
        none = wanted.new_zeros(())
        return TokenizerOutput(model.decode(ids), none, none, ids)

    def _terms(self, made: Tensor, wanted: Tensor, truth: Tensor, output: Any) -> dict[str, Tensor]:
        weights, spread = self.weights, self.stats.std[_SLICES["positions"].start].item()
        terms = {
            name: F.smooth_l1_loss(made[..., block], wanted[..., block], beta=weights.beta)
            for name, block in _SLICES.items()
        }
        place = _SLICES["positions"]
        terms["steps"] = F.l1_loss(
            made[:, 1:, place] - made[:, :-1, place], wanted[:, 1:, place] - wanted[:, :-1, place]
        )
        restored = self.stats.restore(made)
        posed, posed_truth = posed_joints(restored) / spread, posed_joints(truth) / spread
        terms["posed"] = F.smooth_l1_loss(posed, posed_truth, beta=weights.beta)
        terms["posed_steps"] = F.l1_loss(posed[:, 1:] - posed[:, :-1], posed_truth[:, 1:] - posed_truth[:, :-1])
        heading, path = root_path(restored)
        heading_truth, path_truth = root_path(truth)
        # A wrong heading carries the whole way off: a radian is worth a metre here.
        terms["drift"] = ((path - path_truth).abs().mean() + (heading - heading_truth).abs().mean()) / spread
        feet, feet_truth = ground_feet(restored, heading, path), ground_feet(truth, heading_truth, path_truth)
        terms["feet"] = ((feet - feet_truth).abs().mean()) / spread
        terms["commitment"] = output.commitment
        loss = sum(getattr(weights, name) * value for name, value in terms.items())
        return {"loss": torch.as_tensor(loss), **terms, "perplexity": output.perplexity}

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Reconstruction of the validation clips."""
        assert isinstance(model, MotionTokenizer | BodyTokenizer)
        return reconstruction(model, self.stats, self.held_out)

    def export(self, folder: Path, model: nn.Module, facts: Mapping[str, Any]) -> None:
        """Write the tokenizer with its statistics and held-out figures."""
        assert isinstance(model, MotionTokenizer | BodyTokenizer)
        figures = reconstruction(model, self.stats, FeatureSet(self.store, "test", self.data.fps))
        origins = Origins.of(self.store, facts.get("init", ""))
        save_checkpoint(
            folder,
            model,
            stats={"mean": self.stats.mean, "std": self.stats.std},
            data=origins.data,
            licence=origins.licence,
            card=card("Motion tokenizer", asdict(self.data), facts, figures, origins),
            storage="float16",
        )


def task(recipe: Recipe, store: Path) -> TokenizerTask:
    """Make the task of a recipe."""
    return TokenizerTask(recipe, store)


@torch.no_grad()
def reconstruction(
    model: MotionTokenizer | BodyTokenizer, stats: Stats, clips: FeatureSet, most: int = 196
) -> dict[str, float]:
    """What is lost when clips go through the tokenizer, each alone and at most ``most`` frames of it.

    196 frames (9.8 s) are the longest piece the engines make; drift grows with length, so a length must be said.

    Returns:
        local_mm: mean joint error with the root's place and heading taken from the truth, joints posed by the
        decoded rotations [mm]; global_mm: the same with the decoded root, drift included; degrees: mean error of
        the local rotations; codes: how many codes were used, of all body parts.
    """
    local, whole, degrees, used = [], [], [], set()
    per_token = model.frames_per_token
    for index in range(len(clips)):
        truth = clips.clip(index)[:most]
        truth = truth[: len(truth) // per_token * per_token]
        ids = model.encode(stats.normalize(truth)[None])
        # A code of one body part is another than the same number of another part.
        used.update((part, code) for row in ids.view(ids.shape[1], -1).tolist() for part, code in enumerate(row))
        made = stats.restore(model.decode(ids))[0]
        rotations, root = decode_rotations(truth)
        made_rotations, made_root = decode_rotations(made)
        degrees.append(torch.rad2deg(rotation_error(made_rotations, rotations)))
        wanted, _ = forward_kinematics(rotations, root, CANONICAL)
        reached, _ = forward_kinematics(made_rotations, made_root, CANONICAL)
        whole.append((reached - wanted).norm(dim=-1).mean(-1))
        # In place: both bodies over the origin, facing +Z.
        there, here = in_place(wanted, truth), in_place(reached, made)
        local.append((here - there).norm(dim=-1).mean(-1))
    return {
        "local_mm": 1000 * float(torch.cat(local).mean()),
        "global_mm": 1000 * float(torch.cat(whole).mean()),
        "degrees": float(torch.cat(degrees).mean()),
        "codes": float(len(used)),
    }


def in_place(positions: Float[Tensor, "T 22 3"], features: Float[Tensor, "T 263"]) -> Float[Tensor, "T 22 3"]:
    """World positions with the root's way and heading taken away, as the layout's local positions are."""
    heading, root = root_path(features)
    moved = positions - root[:, None] * torch.tensor([1.0, 0.0, 1.0])
    return rot.rotate(rot.about("Y", -heading)[:, None].expand(*moved.shape[:-1], 4), moved)
