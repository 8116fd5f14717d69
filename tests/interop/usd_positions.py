"""Print where the joints of a USD file are, as usd-core computes them: python usd_positions.py FILE FRAME..."""

import json
import sys

from pxr import Usd, UsdGeom, UsdSkel  # pyright: ignore[reportMissingImports] (in a venv of its own)

stage = Usd.Stage.Open(sys.argv[1])
root = UsdSkel.Root(stage.GetPrimAtPath("/Actor"))
cache = UsdSkel.Cache()
cache.Populate(root, Usd.PrimDefaultPredicate)
query = cache.GetSkelQuery(UsdSkel.Skeleton(stage.GetPrimAtPath("/Actor/Skeleton")))
names = [path.split("/")[-1] for path in query.GetJointOrder()]
frames = []
for frame in map(int, sys.argv[2:]):
    found = query.ComputeJointSkelTransforms(Usd.TimeCode(frame))
    frames.append({name: list(matrix.ExtractTranslation()) for name, matrix in zip(names, found, strict=True)})
bindings = cache.ComputeSkelBindings(root, Usd.PrimDefaultPredicate)
facts = {
    "fps": stage.GetTimeCodesPerSecond(),
    "end": stage.GetEndTimeCode(),
    "metres": UsdGeom.GetStageMetersPerUnit(stage),
    "up": str(UsdGeom.GetStageUpAxis(stage)),
    "clip": query.GetAnimQuery().GetPrim().GetName(),
    "skinned": sum(len(binding.GetSkinningTargets()) for binding in bindings),
    "frames": frames,
}
print("RESULT " + json.dumps(facts))
