"""Rotation conversions: quaternion, matrix, 6D, axis-angle and Euler angles in every order.

Conventions, here and everywhere in motionloom: right-handed, column vectors, quaternions ``wxyz`` of unit
length, radians. All functions take any leading axes (``*batch``), are differentiable and run on the device
and in the dtype of their argument.

Sources: quaternion algebra as in Shoemake, "Animating rotation with quaternion curves" (1985);
6D form: Zhou et al., "On the continuity of rotation representations" (CVPR 2019), equation 15.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from motionloom.errors import MotionError

AXES = {"X": 0, "Y": 1, "Z": 2}


def normalize(vector: Float[Tensor, "*batch D"], eps: float = 1e-12) -> Float[Tensor, "*batch D"]:
    """Scale vectors to unit length; a zero vector stays zero."""
    return F.normalize(vector, dim=-1, eps=eps)


def identity(*shape: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "..."]:
    """Return identity quaternions of shape ``(*shape, 4)``."""
    quaternion = torch.zeros(*shape, 4, dtype=dtype)
    quaternion[..., 0] = 1.0
    return quaternion


def multiply(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*#batch 4"]:
    """Hamilton product ``a b``: rotate by ``b`` first, then by ``a``."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        dim=-1,
    )


def conjugate(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """Inverse of a unit quaternion."""
    return quaternion * quaternion.new_tensor([1.0, -1.0, -1.0, -1.0])


def rotate(quaternion: Float[Tensor, "*#batch 4"], vector: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "*#batch 3"]:
    """Rotate vectors by unit quaternions: ``v + 2 w (u x v) + 2 u x (u x v)``."""
    scalar, axis = quaternion[..., :1], quaternion[..., 1:]
    axis, vector = torch.broadcast_tensors(axis, vector)
    once = torch.linalg.cross(axis, vector)
    return vector + 2.0 * (scalar * once + torch.linalg.cross(axis, once))


def between(a: Float[Tensor, "*#batch 3"], b: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "*#batch 4"]:
    """Shortest rotation that takes the direction of ``a`` to the direction of ``b``.

    Opposite directions have no shortest rotation; half a turn about an axis perpendicular to ``a`` is returned.
    """
    a, b = torch.broadcast_tensors(normalize(a), normalize(b))
    scalar = 1.0 + (a * b).sum(-1, keepdim=True)
    # Any axis perpendicular to a: the cross product with the coordinate axis a is least aligned with.
    helper = F.one_hot(a.abs().argmin(-1), 3).to(a)
    opposite = torch.cat((torch.zeros_like(scalar), torch.linalg.cross(a, helper)), -1)
    direct = torch.cat((scalar, torch.linalg.cross(a, b)), -1)
    return normalize(torch.where(scalar < 1e-6, opposite, direct))


def about(axis: str, angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 4"]:
    """Quaternion of a rotation by ``angle`` [rad] about a coordinate axis, ``"X"``, ``"Y"`` or ``"Z"``."""
    half = angle / 2.0
    parts = [half.cos(), *(torch.zeros_like(half) for _ in range(3))]
    parts[1 + AXES[axis]] = half.sin()
    return torch.stack(parts, dim=-1)


def yaw_of(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """Angle about +Y [rad] of the twist part of a rotation (swing-twist split about Y)."""
    return 2.0 * torch.atan2(quaternion[..., 2], quaternion[..., 0])


def to_matrix(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of unit quaternions."""
    w, x, y, z = quaternion.unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def from_matrix(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (scalar part >= 0) of rotation matrices.

    Of the four ways to divide, the one with the largest divisor is taken, so no rotation is ill-conditioned
    (Shepperd, 1978).
    """
    m = matrix
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    squares = torch.stack(
        (
            1 + trace,
            1 + 2 * m[..., 0, 0] - trace,
            1 + 2 * m[..., 1, 1] - trace,
            1 + 2 * m[..., 2, 2] - trace,
        ),
        dim=-1,
    )
    yz, zx, xy = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    s_yz, s_zx, s_xy = (
        m[..., 2, 1] + m[..., 1, 2],
        m[..., 0, 2] + m[..., 2, 0],
        m[..., 1, 0] + m[..., 0, 1],
    )
    candidates = torch.stack(
        (
            torch.stack((squares[..., 0], yz, zx, xy), -1),
            torch.stack((yz, squares[..., 1], s_xy, s_zx), -1),
            torch.stack((zx, s_xy, squares[..., 2], s_yz), -1),
            torch.stack((xy, s_zx, s_yz, squares[..., 3]), -1),
        ),
        dim=-2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = normalize(candidates.gather(-2, best).squeeze(-2))
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def to_6d(matrix: Float[Tensor, "*batch 3 3"], form: str = "columns") -> Float[Tensor, "*batch 6"]:
    """6D form of rotation matrices: the first two ``"columns"`` one after the other, or the first two ``"rows"``.

    HumanML3D and Zhou et al. use columns; PyTorch3D, and with it many SMPL-X code bases, use rows.
    """
    _check_form(form)
    two = matrix[..., :, :2].transpose(-1, -2) if form == "columns" else matrix[..., :2, :]
    return two.flatten(-2)


def from_6d(six: Float[Tensor, "*batch 6"], form: str = "columns") -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of 6D vectors by Gram-Schmidt; the vectors need not be orthonormal."""
    _check_form(form)
    first = normalize(six[..., :3])
    second = six[..., 3:] - (first * six[..., 3:]).sum(-1, keepdim=True) * first
    second = normalize(second)
    third = torch.linalg.cross(first, second)
    return torch.stack((first, second, third), dim=-1 if form == "columns" else -2)


def _check_form(form: str) -> None:
    if form not in ("columns", "rows"):
        raise MotionError(f"6D form {form!r} is unknown: use 'columns' or 'rows'")


def from_axis_angle(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions of rotation vectors (direction = axis, length = angle [rad])."""
    half = vector.norm(dim=-1, keepdim=True) / 2.0
    # torch.sinc is sin(pi x)/(pi x): smooth through zero, so the gradient there is right.
    return torch.cat((half.cos(), 0.5 * vector * torch.sinc(half / torch.pi)), -1)


def to_axis_angle(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vectors of unit quaternions, the angle in [0, pi]."""
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    axis = quaternion[..., 1:]
    length = axis.norm(dim=-1, keepdim=True)
    half = torch.atan2(length, quaternion[..., :1])
    small = length < 1e-7
    factor = torch.where(small, 2.0 * torch.ones_like(half), 2.0 * half / torch.where(small, 1.0, length))
    return axis * factor


def from_euler(angles: Float[Tensor, "*batch K"], order: str) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions of intrinsic Euler angles [rad]: ``order="ZXY"`` is ``R = Rz Rx Ry`` as in BVH.

    Args:
        angles: One angle per letter of ``order``, in that sequence.
        order: One to three of the letters X, Y, Z; neighbours differ ("ZXY", "XYX", "ZX", "Y").

    Raises:
        MotionError: ``order`` is no such word, or has another number of letters than there are angles.
    """
    _check_order(order)
    if angles.shape[-1] != len(order):
        raise MotionError(f"order {order!r} needs {len(order)} angles per rotation; got {angles.shape[-1]}")
    result = about(order[0], angles[..., 0])
    for index, axis in enumerate(order[1:], start=1):
        result = multiply(result, about(axis, angles[..., index]))
    return result


def to_euler(quaternion: Float[Tensor, "*batch 4"], order: str) -> Float[Tensor, "*batch 3"]:
    """Intrinsic Euler angles [rad] of unit quaternions for any of the twelve three-letter orders.

    The middle angle lies in [-pi/2, pi/2] (Tait-Bryan orders) or [0, pi] (proper Euler orders such as "ZXZ").
    At gimbal lock the third angle is set to zero, and there is no gradient.

    Source: Bernardes and Viollet, "Quaternion to Euler angles conversion: a direct, general and
    computationally efficient method" (2022).
    """
    _check_order(order)
    if len(order) != 3:
        raise MotionError(f"order {order!r} has {len(order)} letters: Euler angles need three")
    # The method is for extrinsic sequences; intrinsic R1 R2 R3 is extrinsic read backwards.
    i, j, k = AXES[order[2]], AXES[order[1]], AXES[order[0]]
    proper = i == k
    if proper:
        k = 3 - i - j
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    w = quaternion[..., 0]
    qi, qj, qk = quaternion[..., 1 + i], quaternion[..., 1 + j], quaternion[..., 1 + k] * sign
    if proper:
        a, b, c, d = w, qi, qj, qk
    else:
        a, b, c, d = w - qj, qi + qk, qj + w, qk - qi
    middle = 2.0 * torch.atan2(torch.hypot(c, d), torch.hypot(a, b))
    plus, minus = torch.atan2(b, a), torch.atan2(d, c)
    low, high = middle.abs() < 1e-6, (middle - torch.pi).abs() < 1e-6
    # ``first`` is about the extrinsic first axis = the intrinsic last letter.
    first, third = plus - minus, plus + minus
    first = torch.where(low | high, torch.zeros_like(first), first)
    third = torch.where(low, 2.0 * plus, torch.where(high, 2.0 * minus, third))
    if not proper:
        third = third * sign
        middle = middle - torch.pi / 2
    angles = torch.stack((third, middle, first), dim=-1)
    return torch.remainder(angles + torch.pi, 2 * torch.pi) - torch.pi


def _check_order(order: str) -> None:
    fits = 1 <= len(order) <= 3 and set(order) <= set(AXES)
    if not fits or any(a == b for a, b in pairwise(order)):
        raise MotionError(f"Euler order {order!r} is unknown: use letters X, Y, Z with no two neighbours equal")


def slerp(
    a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"], weight: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*#batch 4"]:
    """Spherical interpolation from ``a`` (weight 0) to ``b`` (weight 1), the short way round."""
    weight = weight.unsqueeze(-1)
    dot = (a * b).sum(-1, keepdim=True)
    b = torch.where(dot < 0, -b, b)
    dot = dot.abs().clamp(max=1.0)
    # atan2 of chord lengths keeps the digits that acos loses near dot = 1.
    angle = 2.0 * torch.atan2((b - a).norm(dim=-1, keepdim=True), (b + a).norm(dim=-1, keepdim=True))
    sine = angle.sin()
    near = sine < 1e-5
    safe = torch.where(near, torch.ones_like(sine), sine)
    from_a = torch.where(near, 1.0 - weight, ((1.0 - weight) * angle).sin() / safe)
    from_b = torch.where(near, weight.expand_as(near), (weight * angle).sin() / safe)
    return normalize(from_a * a + from_b * b)


def continuous(quaternion: Float[Tensor, "T *batch 4"]) -> Float[Tensor, "T *batch 4"]:
    """Choose signs along time (axis 0) so that neighbouring quaternions lie on the same side."""
    dots = (quaternion[1:] * quaternion[:-1]).sum(-1, keepdim=True)
    flips = torch.where(dots < 0, -1.0, 1.0).to(quaternion)
    signs = torch.cat((torch.ones_like(quaternion[:1, ..., :1]), flips)).cumprod(0)
    return quaternion * signs


def angle_between(a: Float[Tensor, "*#batch 4"], b: Float[Tensor, "*#batch 4"]) -> Float[Tensor, "*#batch"]:
    """Angle [rad] of the rotation that leads from ``a`` to ``b``, in [0, pi]."""
    dot = (a * b).sum(-1, keepdim=True)
    b = torch.where(dot < 0, -b, b)
    return 4.0 * torch.atan2((b - a).norm(dim=-1), (b + a).norm(dim=-1))


def kabsch(rest: Float[Tensor, "*#batch K 3"], posed: Float[Tensor, "*#batch K 3"]) -> Float[Tensor, "*#batch 3 3"]:
    """Rotation that best takes the vectors ``rest`` to ``posed`` (least squares, no reflection).

    Source: Kabsch, "A solution for the best rotation to relate two sets of vectors" (1976).
    """
    covariance = torch.einsum("...ki,...kj->...ij", posed, rest)
    u, _, vt = torch.linalg.svd(covariance)
    sign = torch.det(u @ vt)
    fix = torch.ones_like(u[..., 0])
    fix = torch.cat((fix[..., :2], sign[..., None]), -1)
    return (u * fix[..., None, :]) @ vt
