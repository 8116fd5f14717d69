"""Taking a motion to a tool: the formats that are written, what each tool wants, and the clip's sidecar.

``FORMATS`` and ``TOOLS`` are the tables that help, documents and tests read.
"""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

from motionloom.errors import MotionFileError, RetargetError
from motionloom.motion.files import atomic_path
from motionloom.motion.io import can_write, save
from motionloom.motion.motion import Motion
from motionloom.motion.rigs.export import ON_CHARACTER, can_save_on, save_on
from motionloom.motion.rigs.facts import facts_of
from motionloom.motion.rigs.loops import closed
from motionloom.motion.rigs.names import renamed
from motionloom.motion.rigs.onto import canonical, retarget_to
from motionloom.motion.rigs.own import OwnBody
from motionloom.motion.rigs.rig import Rig, read_rig
from motionloom.motion.rigs.roots import standing_still, with_root

SIDECAR = ".clip.json"


@dataclass(frozen=True)
class Format:
    """A format that is written: what goes in, and what tools open it."""

    suffix: str
    title: str
    character: str
    holds: str
    opened_by: str


FORMATS = (
    Format(".glb", "glTF binary", "the character's file, one more animation", "mesh, clip, facts", "all but Maya"),
    Format(".vrm", "VRM", "the avatar's file, one more animation", "mesh, clip, facts", "VRM viewers, three.js"),
    Format(".vrma", "VRM animation", "any avatar, none in the file", "clip, facts", "three-vrm, UniVRM, Warudo"),
    Format(
        ".fbx", "FBX 7.4 binary", "joints and meshes, no textures", "mesh, clip, facts", "Unity, Unreal, Maya, Blender"
    ),
    Format(".usda", "USD text", "joints and meshes, no textures", "mesh, clip, facts", "Blender, Houdini, Omniverse"),
    Format(
        ".usdz", "USD package", "joints and meshes, no textures", "mesh, clip, facts", "Apple AR, Blender, Omniverse"
    ),
    Format(".bvh", "Biovision", "the hierarchy of the character's BVH", "clip", "MotionBuilder, iClone, Blender"),
    Format(".amass.npz", "AMASS (SMPL-H)", "our body only", "clip", "SMPL tools"),
    Format(".npz", "motionloom", "our body only", "clip, facts", "motionloom, NumPy"),
    Format(".npy", "HumanML3D joints", "our body only", "positions", "research code, NumPy"),
    Format(".csv", "joint positions", "our body only", "positions", "spreadsheets"),
)


@dataclass(frozen=True)
class Tool:
    """What a tool wants.

    Attributes:
        suffixes: Files it opens; the first is what a pack writes.
        root: Whether a bone of its own, above the hips, carries the way on the floor (our own body gets one).
        names: Joint names of our own body.
        reduce: Keys that come back within so many degrees are left out.
        how: How to open the file there, in a sentence.
    """

    suffixes: tuple[str, ...]
    root: bool = False
    names: str | None = None
    reduce: float = 0.0
    how: str = ""


TOOLS = {
    "blender": Tool(
        (".glb", ".fbx", ".bvh", ".usda", ".usdz"),
        how="File > Import > glTF 2.0; set the scene's frame rate to the clip's first",
    ),
    "unity": Tool((".fbx",), names="unity", how="drop it into Assets; Rig > Humanoid, Avatar: Create From This Model"),
    "unreal": Tool(
        (".fbx",),
        root=True,
        names="unreal",
        how="Import; choose or make the skeleton, then Enable Root Motion in the sequence",
    ),
    "godot": Tool((".glb",), names="vrm", how="drop it into the project; Advanced Import > Skeleton3D > BoneMap"),
    "web": Tool((".glb",), reduce=0.5, how="GLTFLoader, then AnimationMixer.clipAction(gltf.animations.at(-1))"),
    "vrm": Tool((".vrma", ".vrm", ".glb"), names="vrm", how="VRMAnimationLoaderPlugin, then createVRMAnimationClip"),
    "mobu": Tool((".fbx", ".bvh"), names="mixamo", how="File > Open, or Motion File Import; the names are HumanIK's"),
}


@dataclass(frozen=True)
class Delivery:
    """How motions are to be written.

    Attributes:
        on: The character; without one, our own body.
        map_file: Names of its bones.
        root: Whether a root bone carries the way on the floor; ``None`` leaves the hips to do it.
        in_place: Whether the way on the floor is taken away.
        loop: Whether the end is to go on into the beginning.
        reduce: Keys that come back within so many degrees are left out.
        names: Joint names of our own body.
        tool: The tool it is for.
        sidecar: Whether ``NAME.clip.json`` is written beside each file.
    """

    on: Path | None = None
    map_file: Path | None = None
    root: bool = False
    in_place: bool = False
    loop: bool = False
    reduce: float = 0.0
    names: str | None = None
    tool: str | None = None
    sidecar: bool = False

    @classmethod
    def of(
        cls,
        tool: str | None,
        *,
        on: Path | None = None,
        map_file: Path | None = None,
        root_bone: str | None = None,
        in_place: bool = False,
        loop: bool = False,
        reduce: float | None = None,
        names: str | None = None,
    ) -> "Delivery":
        """What a tool wants, with the user's own wishes above it.

        Raises:
            MotionFileError: There is no such tool.
        """
        if tool is not None and tool not in TOOLS:
            raise MotionFileError(f"--for {tool}: no such tool; known are {', '.join(TOOLS)}")
        wants = TOOLS[tool] if tool is not None else Tool(())
        root = wants.root if root_bone is None else root_bone == "root"
        return cls(
            on,
            map_file,
            root,
            in_place,
            loop,
            wants.reduce if reduce is None else reduce,
            names if names is not None else (wants.names if on is None else None),
            tool,
            tool is not None,
        )

    @property
    def plain(self) -> bool:
        """Whether nothing is asked for that plain writing does not do."""
        return self == Delivery()

    @cached_property
    def rig(self) -> Rig:
        """The character, read once."""
        assert self.on is not None
        return read_rig(self.on, map_file=self.map_file)

    def check(self, out: Path) -> None:
        """Refuse what could not be written, before any work.

        Raises:
            MotionFileError: The format, the place, the tool or the character does not allow it.
            RetargetError: The character is refused.
        """
        if self.tool is not None and not out.name.lower().endswith(TOOLS[self.tool].suffixes):
            raise MotionFileError(f"{out}: --for {self.tool} reads {', '.join(TOOLS[self.tool].suffixes)}; name it so")
        if self.on is None:
            can_write(out)
            return
        can_save_on(out)
        if out.exists() and self.on.exists() and out.samefile(self.on):
            raise MotionFileError(f"{out}: is the character itself; give the result another name")
        if self.root and self.rig.root is None:
            if self.tool is not None:
                # The tool would like one; a character without one is as its maker wants it.
                return
            raise RetargetError(f"{self.on}: has no bone above the hips that could carry root motion; --root-bone none")
        kind = self.rig.scene.kind
        glb = kind in ("glb", "vrm0", "vrm1")
        if out.suffix.lower() in (".glb", ".vrm") and not glb:
            raise MotionFileError(f"{out}: the character is {self.on.suffix}; write .fbx, .usda or .vrma")
        if out.suffix.lower() == ".bvh" and kind != "bvh":
            raise MotionFileError(f"{out}: a BVH is written on the hierarchy of a BVH; {self.on.name} is none")

    def write(self, motion: Motion, out: Path, *, name: str | None = None) -> tuple[dict[str, Any], list[str]]:
        """Write a motion; returns the clip's facts, and lines that say how well it went.

        Raises:
            MotionFileError: It cannot be written.
            RetargetError: The motion or the character is of no human, or the result would be wrong.
        """
        lines: list[str] = []
        special = self != replace(Delivery(), tool=self.tool, sidecar=self.sidecar)
        if special:
            motion = canonical(motion)
        if self.loop:
            motion, seam = closed(motion)
            lines.append(f"loop: first and last pose {seam:.2f} degrees apart at most, {len(motion)} frames a cycle")
        if self.on is not None:
            root = self.root and self.rig.root is not None
            done = retarget_to(motion, self.rig, root_bone=root, in_place=self.in_place, loop=self.loop)
            facts = save_on(done, out, name=name, reduce=self.reduce)
            lines += done.certificate.lines()
            lines += [f"note: {note}" for note in done.notes]
        elif special and out.suffix.lower() in ON_CHARACTER and out.suffix.lower() != ".bvh":
            # Our own body is a character like any other; only its size and its floor are the motion's own.
            with OwnBody(motion.skeleton, names=self.names, root=self.root) as body:
                done = retarget_to(
                    motion,
                    body.rig,
                    root_bone=self.root,
                    in_place=self.in_place,
                    hold=False,
                    ground=False,
                    loop=self.loop,
                )
                facts = save_on(done, out, name=name, reduce=self.reduce)
        else:
            facts = facts_of(motion, loop=self.loop) if special or self.sidecar else {}
            facts = facts or {"frames": len(motion), "fps": motion.fps}
            if self.reduce > 0:
                raise MotionFileError(f"{out}: this format holds every frame; leave out --reduce-keys")
            if self.in_place:
                motion = standing_still(motion)
            if self.names is not None:
                motion = renamed(motion, self.names)
            if self.root:
                motion = with_root(motion)
            known = signature(can_write(out)).parameters
            options = {"name": name, "loop": self.loop}
            save(motion, out, **{key: value for key, value in options.items() if value and key in known})
        if self.tool is not None:
            lines.append(f"in {self.tool}: {TOOLS[self.tool].how}")
        if self.sidecar:
            beside = out.with_name(out.name.removesuffix(out.suffix) + SIDECAR)
            write_sidecar(facts, beside, file=out.name)
            lines.append(f"wrote {beside}")
        return facts, lines


def write_sidecar(facts: dict[str, Any], path: Path, *, file: str) -> None:
    """Write what a game needs to know of a clip as JSON; ``clip.schema.json`` describes it."""
    with atomic_path(path) as temporary:
        text = json.dumps({"file": file, **facts}, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")
