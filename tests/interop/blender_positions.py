"""Import a GLB, FBX, USD or BVH into Blender and print where its bones are; run by a Python that has ``bpy``.

Usage: python blender_positions.py FILE FPS FRAME [FRAME ...]

Prints one JSON line: names and parents of the bones, and where their heads are, frame x bone x 3, in our axes
(Y up, metres).
"""

import json
import sys

import bpy  # pyright: ignore[reportMissingImports] (in a venv of its own)


def main(path: str, fps: float, frames: list[int]) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    # The importers place keys by the scene's frame rate, so it must be the clip's before the import. It is a
    # whole number: with a fraction (fps_base) the glTF importer of Blender 5.0 places keys wrongly.
    rate = max(1, round(fps))
    scene.render.fps = rate
    if path.endswith(".glb"):
        bpy.ops.import_scene.gltf(filepath=path)
        places = [frame * rate / fps for frame in frames]
    elif path.endswith(".fbx"):
        # The first frame comes to lie on 1.
        bpy.ops.import_scene.fbx(filepath=path)
        places = [frame * rate / fps + 1.0 for frame in frames]
    elif path.endswith((".usda", ".usdz")):
        bpy.ops.wm.usd_import(filepath=path)
        places = [frame * rate / fps for frame in frames]
    else:
        # Blender's defaults but for the unit: the file is in centimetres. The first frame comes to lie on 1.
        bpy.ops.import_anim.bvh(filepath=path, global_scale=0.01, frame_start=0, update_scene_fps=False)
        places = [frame + 1.0 for frame in frames]
    armature = next(item for item in bpy.data.objects if item.type == "ARMATURE")
    meshes = [item for item in bpy.data.objects if item.type == "MESH" and item.find_armature() == armature]
    result = {
        "bones": [bone.name for bone in armature.pose.bones],
        "parents": [bone.parent.name if bone.parent else None for bone in armature.pose.bones],
        "actions": [action.name for action in bpy.data.actions],
        "skinned": len(meshes),
        "range": list(bpy.data.actions[0].frame_range),
        "positions": [],
    }
    for place in places:
        scene.frame_set(int(place), subframe=place - int(place))
        heads = [armature.matrix_world @ bone.head for bone in armature.pose.bones]
        # Blender has Z up: its (x, y, z) is our (x, z, -y).
        result["positions"].append([[head.x, head.z, -head.y] for head in heads])
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), [int(word) for word in sys.argv[3:]])
