"""Print where the nodes of an FBX file are, as ufbx evaluates them: python fbx_positions.py FILE SECONDS..."""

import json
import os
import sys

import ufbx  # pyright: ignore[reportMissingImports] (in a venv of its own)

scene = ufbx.load_file(sys.argv[1])
stack = scene.anim_stacks[0]
nodes = list(scene.nodes)
parents = [node.parent.typed_id if node.parent is not None else -1 for node in nodes]


def turn(q, v):
    x, y, z, w = q.x, q.y, q.z, q.w
    tx, ty, tz = 2 * (y * v[2] - z * v[1]), 2 * (z * v[0] - x * v[2]), 2 * (x * v[1] - y * v[0])
    return [
        v[0] + w * tx + y * tz - z * ty,
        v[1] + w * ty + z * tx - x * tz,
        v[2] + w * tz + x * ty - y * tx,
    ]


def place(node, time):
    """A node's place in the world: its own, carried through all nodes above it."""
    point = [0.0, 0.0, 0.0]
    while node >= 0:
        local = ufbx.evaluate_transform(stack.anim, nodes[node], time)
        scaled = [point[0] * local.scale.x, point[1] * local.scale.y, point[2] * local.scale.z]
        point = turn(local.rotation, scaled)
        point = [
            a + b for a, b in zip(point, (local.translation.x, local.translation.y, local.translation.z), strict=True)
        ]
        node = parents[node]
    return point


frames = [{nodes[at].name: place(at, float(time)) for at in range(len(nodes))} for time in sys.argv[2:]]
facts = {
    "name": stack.name,
    "begin": stack.time_begin,
    "end": stack.time_end,
    "fps": scene.settings.frames_per_second,
    "metres": scene.settings.unit_meters,
    "skins": len(scene.skin_deformers),
    "frames": frames,
}
print("RESULT " + json.dumps(facts))
sys.stdout.flush()
os._exit(0)  # the binding of ufbx 0.0.5 crashes when the interpreter takes it down
