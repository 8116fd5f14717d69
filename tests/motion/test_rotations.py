import math
from itertools import permutations, product

import make
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from motionloom.errors import MotionError
from motionloom.motion import rotations as rot

ORDERS = [
    "".join(letters) for letters in product("XYZ", repeat=3) if letters[0] != letters[1] and letters[1] != letters[2]
]
seeds = st.integers(0, 10_000)
shapes = st.sampled_from([(), (5,), (2, 3), (2, 1, 4)])


def scipy(quaternion: torch.Tensor) -> Rotation:
    return Rotation.from_quat(quaternion.reshape(-1, 4)[:, [1, 2, 3, 0]].numpy())


def quaternions(count: int = 200, seed: int = 0) -> torch.Tensor:
    """Random ones, and the corners: identity, half turns about each axis, tiny and almost half turns."""
    corners = [[1.0, 0, 0, 0], [-1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1.0], [0, 0.6, 0, 0.8]]
    near = [[1.0, 1e-9, 0, 0], [1.0, 0, 1e-5, 0], [1e-5, 1.0, 0, 0], [-1e-6, 0, 0, 1.0]]
    some = make.rotations(count, seed=seed, dtype=torch.float64)
    return rot.normalize(torch.cat((some, torch.tensor(corners + near, dtype=torch.float64))))


def close(got: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(got, wanted, atol=1e-9, rtol=0.0)


def same(a: torch.Tensor, b: torch.Tensor, degrees: float = 1e-4) -> None:
    assert make.degrees_apart(a, b) < degrees


def test_there_are_twelve_euler_orders():
    assert len(ORDERS) == 12
    assert set(map("".join, permutations("XYZ"))) <= set(ORDERS)


def test_matrices_are_those_of_scipy_and_lead_back():
    q = quaternions()
    close(rot.to_matrix(q), torch.from_numpy(scipy(q).as_matrix()))
    back = rot.from_matrix(rot.to_matrix(q))
    assert (back[:, 0] >= 0).all()
    same(back, q)


def test_axis_angles_are_those_of_scipy_and_lead_back():
    q = quaternions()
    vectors = rot.to_axis_angle(q)
    # At half a turn both signs of the axis are right.
    ordinary = (q[:, 0].abs() > 1e-4) & (vectors.norm(dim=-1) > 1e-7)
    wanted = torch.from_numpy(scipy(q).as_rotvec())
    torch.testing.assert_close(vectors[ordinary], wanted[ordinary], atol=1e-8, rtol=0.0)
    assert (vectors.norm(dim=-1) <= math.pi + 1e-9).all()
    same(rot.from_axis_angle(vectors), q)


@pytest.mark.parametrize("order", ORDERS)
def test_euler_angles_are_those_of_scipy_in_every_order(order):
    q = quaternions(300)
    angles = rot.to_euler(q, order)
    same(rot.from_euler(angles, order), q)
    random = q[:300]
    wanted = torch.from_numpy(scipy(random).as_euler(order))
    # Equal up to whole turns; random rotations are never at gimbal lock.
    apart = torch.remainder(angles[:300] - wanted + math.pi, 2 * math.pi) - math.pi
    assert float(apart.abs().max()) < 1e-6
    raw = make.tensor(50, 3, seed=3, dtype=torch.float64)
    close(
        rot.to_matrix(rot.from_euler(raw, order)),
        torch.from_numpy(Rotation.from_euler(order, raw.numpy()).as_matrix()),
    )


@pytest.mark.parametrize("order", ORDERS)
def test_euler_angles_lead_back_at_gimbal_lock(order):
    locked = [0.0, math.pi] if order[0] == order[2] else [-math.pi / 2, math.pi / 2]
    for middle in locked:
        angles = torch.tensor([[0.3, middle, 0.5], [-2.0, middle, 1.0], [0.0, middle, 0.0]], dtype=torch.float64)
        q = rot.from_euler(angles, order)
        found = rot.to_euler(q, order)
        same(rot.from_euler(found, order), q, degrees=0.01)
        assert torch.isfinite(found).all()


def test_one_and_two_letter_orders_are_products_by_hand():
    angles = torch.tensor([[0.4, -0.7]])
    two = rot.multiply(rot.about("Z", angles[:, 0]), rot.about("X", angles[:, 1]))
    torch.testing.assert_close(rot.from_euler(angles, "ZX"), two)
    torch.testing.assert_close(rot.from_euler(angles[:, :1], "Y"), rot.about("Y", angles[:, 0]))


@pytest.mark.parametrize("order", ["", "XX", "XYW", "XYZX", "xyz", "XXY"])
def test_unknown_orders_are_refused(order):
    with pytest.raises(MotionError, match=r"Euler order .* is unknown: use letters X, Y, Z"):
        rot.from_euler(torch.zeros(3), order)


def test_wrong_numbers_of_angles_are_refused():
    with pytest.raises(MotionError, match="order 'ZXY' needs 3 angles per rotation; got 2"):
        rot.from_euler(torch.zeros(2), "ZXY")
    with pytest.raises(MotionError, match="order 'ZX' has 2 letters: Euler angles need three"):
        rot.to_euler(rot.identity(), "ZX")


@pytest.mark.parametrize("form", ["columns", "rows"])
def test_six_numbers_lead_back_and_need_not_be_orthonormal(form):
    matrix = rot.to_matrix(quaternions())
    six = rot.to_6d(matrix, form)
    close(rot.from_6d(six, form), matrix)
    # A longer first vector, and a second that leans towards it, span the same frame.
    leaning = torch.cat((3.0 * six[:, :3], 0.5 * six[:, 3:] + 0.2 * six[:, :3]), -1)
    close(rot.from_6d(leaning, form), matrix)


def test_six_numbers_by_hand():
    matrix = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert rot.to_6d(matrix).tolist() == [0.0, 1.0, 0.0, -1.0, 0.0, 0.0]
    assert rot.to_6d(matrix, "rows").tolist() == [0.0, -1.0, 0.0, 1.0, 0.0, 0.0]
    with pytest.raises(MotionError, match="6D form 'both' is unknown: use 'columns' or 'rows'"):
        rot.to_6d(matrix, "both")


@given(shape=shapes, seed=seeds)
def test_any_leading_axes_go_through_every_function(shape, seed):
    q, p = make.rotations(*shape, seed=seed), make.rotations(*shape, seed=seed + 1)
    v, w = make.tensor(*shape, 3, seed=seed), make.tensor(*shape, 3, seed=seed + 1)
    assert rot.to_matrix(q).shape == (*shape, 3, 3)
    same(rot.from_matrix(rot.from_6d(rot.to_6d(rot.to_matrix(q)))), q, 0.1)
    same(rot.from_axis_angle(rot.to_axis_angle(q)), q, 0.1)
    same(rot.from_euler(rot.to_euler(q, "ZXY"), "ZXY"), q, 0.1)
    turned = torch.einsum("...ij,...j->...i", rot.to_matrix(q), v)
    torch.testing.assert_close(rot.rotate(q, v), turned, atol=1e-5, rtol=1e-5)
    product = rot.to_matrix(rot.multiply(q, p))
    torch.testing.assert_close(product, rot.to_matrix(q) @ rot.to_matrix(p), atol=1e-5, rtol=1e-5)
    unit = rot.multiply(q, rot.conjugate(q))
    torch.testing.assert_close(unit, rot.identity(*shape), atol=1e-6, rtol=0.0)
    reached = rot.rotate(rot.between(v, w), rot.normalize(v))
    torch.testing.assert_close(reached, rot.normalize(w), atol=2e-5, rtol=0.0)
    assert rot.slerp(q, p, torch.full(shape, 0.3)).shape == (*shape, 4)
    assert rot.angle_between(q, p).shape == shape


@pytest.mark.parametrize(
    "function",
    [
        rot.to_matrix,
        rot.to_axis_angle,
        lambda q: rot.from_matrix(rot.to_matrix(q)),
        lambda q: rot.from_axis_angle(rot.to_axis_angle(q)),
        lambda q: rot.from_6d(rot.to_6d(rot.to_matrix(q))),
        lambda q: rot.rotate(q, torch.tensor([0.1, 0.2, 0.3])),
        lambda q: rot.slerp(q, rot.identity(len(q)), torch.full((len(q),), 0.5)),
        lambda q: rot.angle_between(q, rot.identity(len(q))),
        lambda q: rot.between(rot.rotate(q, torch.tensor([0.0, 1.0, 0.0])), torch.tensor([0.0, 1.0, 0.0])),
    ],
)
def test_gradients_are_finite_at_the_identity_and_near_half_turns(function):
    q = quaternions(4).float()
    q = q.clone().requires_grad_()
    function(q).square().sum().backward()
    assert q.grad is not None
    assert torch.isfinite(q.grad).all()


@pytest.mark.parametrize("order", ["ZXY", "ZXZ"])
def test_euler_gradients_are_finite_off_gimbal_lock(order):
    q = make.rotations(20, seed=1).requires_grad_()
    rot.to_euler(q, order).square().sum().backward()
    assert q.grad is not None
    assert torch.isfinite(q.grad).all()


def test_the_gradient_of_axis_angles_is_right_at_zero():
    """A small rotation vector r has the quaternion (1, r/2)."""
    vector = torch.zeros(3, requires_grad=True)
    rot.from_axis_angle(vector)[1:].sum().backward()
    torch.testing.assert_close(vector.grad, torch.full((3,), 0.5))


def test_opposite_directions_get_half_a_turn():
    a = torch.eye(3)
    q = rot.between(a, -a)
    torch.testing.assert_close(rot.rotate(q, a), -a, atol=1e-6, rtol=0.0)
    torch.testing.assert_close(q[:, 0], torch.zeros(3))
    torch.testing.assert_close(rot.between(torch.zeros(3), a[0]), rot.identity())


def test_a_quarter_turn_by_hand():
    """+90 degrees about +Y take +Z to +X: to the left of a body that faces +Z."""
    q = rot.about("Y", torch.tensor(math.pi / 2))
    torch.testing.assert_close(q, torch.tensor([math.sqrt(0.5), 0.0, math.sqrt(0.5), 0.0]))
    turned = rot.rotate(q, torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(turned, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6, rtol=0.0)
    assert float(rot.yaw_of(q)) == pytest.approx(math.pi / 2)


@given(seed=seeds, angle=st.floats(-3.0, 3.0))
def test_the_yaw_of_a_turn_after_a_tilt_about_a_horizontal_axis_is_the_turn(seed, angle):
    tilt = make.tensor(3, seed=seed) * torch.tensor([1.0, 0.0, 1.0])
    tilt = rot.normalize(tilt) * 1.2
    q = rot.multiply(rot.about("Y", torch.tensor(angle)), rot.from_axis_angle(tilt))
    assert math.remainder(float(rot.yaw_of(q)) - angle, 2 * math.pi) == pytest.approx(0.0, abs=1e-4)


@given(seed=seeds, weight=st.floats(0.0, 1.0))
def test_slerp_runs_along_the_shorter_arc_at_even_speed(seed, weight):
    a, b = make.rotations(6, seed=seed), make.rotations(6, seed=seed + 1)
    w = torch.full((6,), weight)
    q = rot.slerp(a, b, w)
    whole = rot.angle_between(a, b)
    torch.testing.assert_close(rot.angle_between(a, q), w * whole, atol=2e-3, rtol=0.0)
    torch.testing.assert_close(rot.angle_between(q, b), (1 - w) * whole, atol=2e-3, rtol=0.0)
    torch.testing.assert_close(q.norm(dim=-1), torch.ones(6))


def test_slerp_of_equal_and_of_negated_quaternions():
    a = make.rotations(5)
    half = torch.full((5,), 0.5)
    same(rot.slerp(a, a, half), a, 0.1)
    same(rot.slerp(a, -a, half), a, 0.1)


@given(seed=seeds, frames=st.integers(1, 40))
def test_continuous_changes_signs_only_and_leaves_no_jump(seed, frames):
    smooth = rot.from_axis_angle(make.waves(frames, 6, 20.0, seed).view(frames, 2, 3) * 2.0)
    signs = torch.where(make.tensor(frames, 2, 1, seed=seed) < 0, -1.0, 1.0)
    found = rot.continuous(smooth * signs)
    torch.testing.assert_close(found.abs(), smooth.abs())
    torch.testing.assert_close(found[0], (smooth * signs)[0])
    assert ((found[1:] * found[:-1]).sum(-1) >= 0).all()


@given(seed=seeds, count=st.integers(2, 6))
def test_kabsch_finds_the_rotation_and_never_a_reflection(seed, count):
    q = make.rotations(3, seed=seed, dtype=torch.float64)
    rest = make.tensor(count, 3, seed=seed, dtype=torch.float64)
    posed = rot.rotate(q[:, None], rest.expand(3, -1, -1))
    found = rot.kabsch(rest.expand_as(posed), posed)
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(torch.einsum("bij,kj->bki", found, rest), posed, atol=1e-8, rtol=0.0)
    mirrored = rot.kabsch(rest.expand_as(posed), posed * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(mirrored), torch.ones(3, dtype=torch.float64))
