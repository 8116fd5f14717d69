"""``motionloom rig``: what is understood of a character, and a map to edit; characters and tools for other verbs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from motionloom.motion.motion import Motion
    from motionloom.motion.rigs.deliver import Delivery

rig = typer.Typer(help="Characters: what is understood of one, and a map of its bones to edit.", no_args_is_help=True)

Character = Annotated[Path, typer.Argument(help="Character: .glb .gltf .vrm .fbx .bvh")]
On = Annotated[Path | None, typer.Option("--on", help="Put the motion on this character: .glb .gltf .vrm .fbx .bvh")]
MapFile = Annotated[
    Path | None, typer.Option("--map", help="Names of the character's bones, as `motionloom rig init` writes them.")
]
RootBone = Annotated[
    str | None,
    typer.Option(help="Who carries the way on the floor: root (a bone above the hips) or none (the hips)."),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Take the way on the floor away.")]
ReduceKeys = Annotated[
    float | None,
    typer.Option("--reduce-keys", help="Leave out keys that come back within so many degrees (.glb .vrma .fbx)."),
]
Names = Annotated[
    str | None, typer.Option("--names", help="Joint names of our own body: mixamo, unreal, unity, vrm, ...")
]
For = Annotated[
    str | None, typer.Option("--for", help="What a tool wants: blender, unity, unreal, godot, web, vrm or mobu.")
]
LoopIt = Annotated[bool, typer.Option("--loop", help="Let the end go on into the beginning; the first pose closes it.")]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable results.")]


@rig.command("inspect")
def inspect_rig(character: Character, map_file: MapFile = None, json_: Json = False) -> None:
    """Print how a character is understood: bones, rules, which way it faces, what stays in rest."""
    from motionloom.motion.rigs.describe import rig_facts

    found = rig_facts(character, map_file=map_file)
    if json_:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    width = max(len(bone) for bone in found["bones"])
    for key in ("file", "kind", "joints", "faces", "height_m", "leg_m", "root_bone", "animations"):
        value = found[key]
        typer.echo(f"{key:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
    for bone, entry in found["bones"].items():
        typer.echo(f"{bone:<{width}}  {entry['node']}  ({entry['rule']})")
    if found["left_in_rest"]:
        typer.echo(f"{'left in rest':<{width}}  {', '.join(found['left_in_rest'])}")
    for note in found["notes"]:
        typer.echo(f"note: {note}")


@rig.command("init")
def init_rig(
    character: Character,
    out: Annotated[Path, typer.Argument(help="Map to write: .toml")],
    map_file: MapFile = None,
) -> None:
    """Write a map of a character's bones to edit, for --map."""
    from motionloom.motion.rigs.describe import write_map

    told = write_map(character, out, map_file=map_file)
    typer.echo(f"wrote {out}")
    for line in told:
        typer.echo(f"note: {line}")


PICTURES = (".png", ".gif", ".mp4")


def wanted(
    outs: Sequence[Path],
    *,
    on: Path | None = None,
    map_file: Path | None = None,
    root_bone: str | None = None,
    in_place: bool = False,
    loop: bool = False,
    reduce: float | None = None,
    names: str | None = None,
    tool: str | None = None,
) -> "Delivery":
    """Check the options of a motion that is taken to another tool, before any long work.

    Raises:
        typer.BadParameter: Options contradict each other.
        MotionFileError: A file cannot be written.
        RetargetError: The character is refused.
    """
    from motionloom.motion.io import can_write
    from motionloom.motion.rigs.deliver import Delivery

    if root_bone not in (None, "root", "none"):
        raise typer.BadParameter(f"{root_bone!r} is unknown; use root or none", param_hint="--root-bone")
    if reduce is not None and not 0 <= reduce <= 30:
        raise typer.BadParameter(f"{reduce:g} degrees; use 0 to 30", param_hint="--reduce-keys")
    if on is not None and names is not None:
        raise typer.BadParameter("a character keeps its own names; leave out --names or --on", param_hint="--names")
    if map_file is not None and on is None:
        raise typer.BadParameter("a map names a character's bones; give the character with --on", param_hint="--map")
    delivery = Delivery.of(
        tool, on=on, map_file=map_file, root_bone=root_bone, in_place=in_place, loop=loop, reduce=reduce, names=names
    )
    for out in outs:
        if out.suffix.lower() in PICTURES:
            can_write(out)
        else:
            delivery.check(out)
    return delivery


def deliver(motion: "Motion", out: Path, delivery: "Delivery", *, quiet: bool = False) -> dict[str, Any]:
    """Write a motion as wanted, and say how well it went; pictures show the motion itself.

    Returns:
        The facts of the clip.
    """
    if out.suffix.lower() in PICTURES:
        motion.save(out)
        facts, lines = {}, []
    else:
        facts, lines = delivery.write(motion, out)
    for line in (f"wrote {out}", *lines) if not quiet else ():
        typer.echo(line)
    return {"file": str(out), **facts}
