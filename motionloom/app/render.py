"""Pictures and videos of a motion: a body of capsules, drawn by casting parallel rays at them.

An orthographic camera makes the meeting of a ray and a capsule a closed formula, so a frame is a few dozen small
array operations and no graphics driver is needed.

Source of the formula: ray against cylinder and sphere, as in any text on ray tracing (Glassner, 1989, chapter 2).
"""

import math
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from motionloom.errors import MotionFileError, RequestError
from motionloom.motion.files import atomic_path
from motionloom.motion.motion import Motion, take
from motionloom.motion.skeleton import CANONICAL, CANONICAL_HANDS

LEFT, RIGHT, MIDDLE = (224, 122, 95), (74, 123, 190), (190, 186, 178)
PAPER, GROUND, LINES, INK = (250, 249, 246), (236, 233, 226), (214, 209, 199), (52, 50, 46)
MAX_PICTURES = 200_000
"""Longest video that is drawn: nearly two hours at 30 pictures a second."""
_PALETTE_FRAMES, _COLOURS = 8, 64
LIGHT = np.array([0.35, 0.80, 0.48]) / np.linalg.norm([0.35, 0.80, 0.48])

# Thickness of the canonical body's parts [m], by the joint at the lower end of the bone.
_RADII = {
    "hip": 0.085, "knee": 0.072, "ankle": 0.052, "foot": 0.042, "spine1": 0.095, "spine2": 0.100, "spine3": 0.105,
    "neck": 0.060, "head": 0.050, "collar": 0.070, "shoulder": 0.062, "elbow": 0.044, "wrist": 0.036,
}  # fmt: skip


@dataclass(frozen=True)
class Camera:
    """A parallel camera.

    Attributes:
        azimuth: Where it stands around the body [degrees]; 0 looks the body in the face when it faces +Z.
        elevation: How far above the horizon it stands [degrees].
        height: Metres that the picture is high.
        size: Width and height of the picture [pixels].
    """

    azimuth: float = 35.0
    elevation: float = 14.0
    height: float = 2.3
    size: tuple[int, int] = (480, 480)

    @property
    def axes(self) -> np.ndarray:
        """Rows: right, up and towards the camera, in world coordinates."""
        a, e = math.radians(self.azimuth), math.radians(self.elevation)
        back = np.array([math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)])
        right = np.array([math.cos(a), 0.0, -math.sin(a)])
        return np.stack((right, np.cross(back, right), back))

    @property
    def scale(self) -> float:
        """Pixels a metre."""
        return self.size[1] / self.height


@dataclass(frozen=True)
class Capsules:
    """The body's parts: bones from joint to joint with a thickness and a colour.

    Attributes:
        ends: Pairs of joints.
        radii: Thickness of each [m].
        colours: RGB of each.
    """

    ends: tuple[tuple[int, int], ...]
    radii: tuple[float, ...]
    colours: tuple[tuple[int, int, int], ...]


def body(motion: Motion) -> Capsules:
    """Capsules for a motion's skeleton; real proportions for the canonical body, thin ones for others."""
    skeleton = motion.skeleton
    canonical = _is_canonical(motion)
    ends, radii, colours = [], [], []
    for joint, parent in enumerate(skeleton.parents):
        if parent < 0:
            continue
        name = skeleton.names[joint]
        length = float(skeleton.offsets[joint].norm())
        if length < 1e-4:
            continue
        ends.append((parent, joint))
        thin = min(0.05, max(0.008, 0.18 * length))
        radii.append(_RADII.get(name.split("_")[-1], thin) if canonical else thin)
        colours.append(_colour(name, float(skeleton.rest_positions[joint, 0])))
    return Capsules(tuple(ends), tuple(radii), tuple(colours))


def _colour(name: str, side: float) -> tuple[int, int, int]:
    """Left orange, right blue, by name, or by the side of the rest pose where names do not say."""
    low = name.lower()
    if "left" in low or low.startswith(("l_", "l ")) or low.endswith(("_l", ".l")):
        return LEFT
    if "right" in low or low.startswith(("r_", "r ")) or low.endswith(("_r", ".r")):
        return RIGHT
    return LEFT if side > 0.05 else RIGHT if side < -0.05 else MIDDLE


def draw_pose(
    joints: np.ndarray, parts: Capsules, camera: Camera, centre: np.ndarray, head: int | None = None
) -> Image.Image:
    """One pose as a picture.

    Args:
        joints: World positions [J, 3] in metres.
        parts: The body.
        camera: Where to look from.
        centre: Point in the middle of the picture.
        head: Joint to put a head on.
    """
    (width, height), scale = camera.size, camera.scale
    axes = camera.axes
    picture = _ground(width, height, scale, axes, centre)
    _shadow(picture, joints, parts, scale, axes, centre)
    canvas = np.asarray(picture, dtype=np.float32).copy()
    depth = np.full((height, width), -np.inf, dtype=np.float32)
    points = (joints - centre) @ axes.T * scale
    points[:, 0] += width / 2
    points[:, 1] = height / 2 - points[:, 1]
    light = axes @ LIGHT * np.array([1.0, -1.0, 1.0])
    for (start, end), radius, colour in zip(parts.ends, parts.radii, parts.colours, strict=True):
        _capsule(canvas, depth, points[start], points[end], radius * scale, colour, light)
    if head is not None:
        up = points[head] - points[parts.ends[[end for _, end in parts.ends].index(head)][0]]
        up = up / max(float(np.linalg.norm(up)), 1e-6)
        middle = points[head] + up * 0.07 * scale
        _capsule(canvas, depth, middle, middle + up * 0.045 * scale, 0.098 * scale, MIDDLE, light)
    return Image.fromarray(canvas.clip(0, 255).astype(np.uint8))


def _ground(width: int, height: int, scale: float, axes: np.ndarray, centre: np.ndarray) -> Image.Image:
    """The floor with lines every half metre, fading into the paper."""
    if abs(axes[1, 1] * axes[2, 1]) < 1e-6:
        return Image.new("RGB", (width, height), PAPER)
    axes, centre = axes.astype(np.float32), centre.astype(np.float32)
    u = (np.arange(width, dtype=np.float32) - width / 2) / scale
    v = (height / 2 - np.arange(height, dtype=np.float32)) / scale
    # The point of the floor a pixel sees: centre + u right + v up + t back with y = 0.
    t = -(centre[1] + v * axes[1, 1]) / axes[2, 1]
    x = centre[0] + u[None] * axes[0, 0] + (v * axes[1, 0] + t * axes[2, 0])[:, None]
    z = centre[2] + u[None] * axes[0, 2] + (v * axes[1, 2] + t * axes[2, 2])[:, None]
    # How far from a line, in half metres; a pixel's own width sets how soft a line's edge is.
    near = np.minimum(np.abs(x * 2 - np.rint(x * 2)), np.abs(z * 2 - np.rint(z * 2)))
    line = np.clip(1.5 - near * (scale / 2), 0.0, 1.0)
    fade = np.clip(1.6 - np.hypot(x - centre[0], z - centre[2]) / 1.6, 0.0, 1.0)
    picture = np.empty((height, width, 3), dtype=np.uint8)
    for channel, (paper, ground, dark) in enumerate(zip(PAPER, GROUND, LINES, strict=True)):
        picture[..., channel] = paper + fade * (ground - paper + line * (dark - ground))
    return Image.fromarray(picture)


def _shadow(
    picture: Image.Image, joints: np.ndarray, parts: Capsules, scale: float, axes: np.ndarray, centre: np.ndarray
) -> None:
    """The body's shadow on the floor."""
    cast = joints - joints[:, 1:2] * (LIGHT / LIGHT[1])
    points = (cast - centre) @ axes.T * scale
    mask = Image.new("L", picture.size, 0)
    draw = ImageDraw.Draw(mask)
    for (start, end), radius in zip(parts.ends, parts.radii, strict=True):
        ends = [(points[i, 0] + picture.width / 2, picture.height / 2 - points[i, 1]) for i in (start, end)]
        wide = max(2, round(1.7 * radius * scale))
        draw.line(ends, fill=70, width=wide)
        for x, y in ends:
            draw.ellipse((x - wide / 2, y - wide / 3, x + wide / 2, y + wide / 3), fill=70)
    picture.paste(Image.new("RGB", picture.size, (60, 55, 50)), (0, 0), mask)


def _capsule(
    canvas: np.ndarray, depth: np.ndarray, a: np.ndarray, b: np.ndarray, radius: float,
    colour: tuple[int, int, int], light: np.ndarray,
) -> None:  # fmt: skip
    """Draw one capsule: x right, y down, z towards the viewer, all in pixels."""
    height, width = depth.shape
    x0, x1 = int(max(0, min(a[0], b[0]) - radius - 1)), int(min(width, max(a[0], b[0]) + radius + 2))
    y0, y1 = int(max(0, min(a[1], b[1]) - radius - 1)), int(min(height, max(a[1], b[1]) + radius + 2))
    if x0 >= x1 or y0 >= y1:
        return
    px = np.arange(x0, x1, dtype=np.float32)[None] - np.float32(a[0])
    py = np.arange(y0, y1, dtype=np.float32)[:, None] - np.float32(a[1])
    dx, dy, dz = (b - a).astype(np.float32)
    flat, whole = dx * dx + dy * dy, dx * dx + dy * dy + dz * dz
    along = px * dx + py * dy
    # Seen from the front a capsule is a stadium: the distance to its middle line gives soft edges.
    nearest = np.clip(along / max(flat, 1e-6), 0.0, 1.0)
    cover = np.clip(radius + 0.5 - np.hypot(px - nearest * dx, py - nearest * dy), 0.0, 1.0)
    if flat > 1e-3 * whole and whole > 1e-6:
        # Along a ray only z varies: on the cylinder |p|^2 - (p.d)^2 / |d|^2 = r^2, quadratic in z.
        quadratic = 1 - dz * dz / whole
        half = -along * dz / whole
        root = half * half - quadratic * (px * px + py * py - along * along / whole - radius * radius)
        z = (-half + np.sqrt(np.maximum(root, 0.0))) / quadratic
        share = (along + z * dz) / whole
        z = np.where((share >= 0) & (share <= 1), z, -np.inf)
    else:
        z = np.full(cover.shape, -np.inf, dtype=np.float32)
        share = np.zeros_like(z)
    for which, (cx, cy, cz) in enumerate(((0.0, 0.0, 0.0), (dx, dy, dz))):
        inside = radius * radius - (px - cx) ** 2 - (py - cy) ** 2
        ball = np.where(inside > -radius, cz + np.sqrt(np.maximum(inside, 0.0)), -np.inf)
        nearer = ball > z
        z = np.where(nearer, ball, z)
        share = np.where(nearer, np.float32(which), share)
    z = z + np.float32(a[2])
    window = depth[y0:y1, x0:x1]
    visible = (z > window) & (cover > 0) & np.isfinite(z)
    share, cover = share[visible], cover[visible]
    rows, columns = np.nonzero(visible)
    nx, ny = px[0, columns] - share * dx, py[rows, 0] - share * dy
    nz = z[visible] - np.float32(a[2]) - share * dz
    facing = (nx * light[0] + ny * light[1] + nz * light[2]) / radius
    shade = 0.52 + 0.50 * np.clip(facing, 0, 1) + 0.06 * np.clip(nz / radius, 0, 1)
    solid = cover > 0.5
    window[rows[solid], columns[solid]] = z[visible][solid]
    paint = shade[:, None] * np.array(colour, dtype=np.float32)
    under = canvas[y0:y1, x0:x1]
    under[rows, columns] += cover[:, None] * (paint - under[rows, columns])


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _is_canonical(motion: Motion) -> bool:
    return any(motion.skeleton.same_tree(tree) for tree in (CANONICAL, CANONICAL_HANDS))


def _head(motion: Motion) -> int | None:
    return motion.skeleton.names.index("head") if _is_canonical(motion) else None


def _height(motion: Motion, joints: np.ndarray) -> float:
    """Picture height [m] that shows the whole body in every frame."""
    tallest = float(joints[..., 1].max()) + 0.3
    reach = float(np.abs(joints - joints[:, :1])[..., [0, 2]].max()) * 2 + 0.4
    return max(2.15, tallest + 0.25, reach)


def contact_sheet(motion: Motion, title: str | None = None, poses: int = 9, cell: int = 190) -> Image.Image:
    """A picture of a motion: poses along time, the way over the ground, and what it is.

    Args:
        motion: Any motion, Y up.
        title: Headline; the motion's text or source when left out.
        poses: How many moments.
        cell: Width of one pose [pixels].
    """
    if not 2 <= poses <= 40:
        raise RequestError(f"{poses} poses asked for; a sheet shows 2 to 40")
    joints = motion.positions.numpy().astype(np.float64)
    parts, head = body(motion), _head(motion)
    moments = np.unique(np.linspace(0, len(motion) - 1, min(poses, len(motion))).round().astype(int))
    top, bottom, map_side = 46, 26, int(cell * 1.35)
    tall = int(cell * 1.35)
    height = _height(motion, joints)
    camera = Camera(height=height, size=(cell, tall))
    sheet = Image.new("RGB", (cell * len(moments) + map_side, top + tall + bottom), PAPER)
    draw = ImageDraw.Draw(sheet)
    title = title if title is not None else motion.provenance.text or motion.provenance.source or "motion"
    draw.text((12, 10), _short(title, 110), fill=INK, font=_font(20))
    facts = f"{motion.seconds:.1f} s, {motion.fps:g} fps, {len(motion)} frames"
    draw.text((sheet.width - 12, 14), facts, fill=INK, font=_font(14), anchor="ra")
    for column, moment in enumerate(moments):
        centre = joints[moment, 0].copy()
        centre[1] = height / 2 - 0.22
        sheet.paste(draw_pose(joints[moment], parts, camera, centre, head), (column * cell, top))
        label = f"{moment / motion.fps:.1f} s"
        draw.text((column * cell + cell / 2, top + tall + 5), label, fill=INK, font=_font(13), anchor="ma")
    sheet.paste(_way(joints, motion, moments, map_side, tall), (cell * len(moments), top))
    label = "from above, +Z down"
    draw.text((cell * len(moments) + map_side / 2, top + tall + 5), label, fill=INK, font=_font(13), anchor="ma")
    return sheet


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _way(joints: np.ndarray, motion: Motion, moments: np.ndarray, width: int, height: int) -> Image.Image:
    """The root's way seen from above (the viewer's left is the body's right at the start)."""
    image = Image.new("RGB", (width, height), (244, 242, 236))
    draw = ImageDraw.Draw(image)
    path = joints[:, 0][:, [0, 2]]
    middle = (path.max(0) + path.min(0)) / 2
    span = max(1.2, float(np.ptp(path, axis=0).max()) * 1.25)
    scale = min(width, height) / span

    def place(point: np.ndarray) -> tuple[float, float]:
        return width / 2 + (point[0] - middle[0]) * scale, height / 2 + (point[1] - middle[1]) * scale

    step = 0.5 if span < 6 else 2.0
    for axis, size in ((0, width), (1, height)):
        for k in range(math.floor((middle[axis] - span) / step), math.ceil((middle[axis] + span) / step) + 1):
            line = (k * step - middle[axis]) * scale + size / 2
            draw.line(((line, 0), (line, height)) if axis == 0 else ((0, line), (width, line)), fill=LINES)
    points = [place(point) for point in path]
    if len(points) > 1:
        draw.line(points, fill=INK, width=2)
    across = joints[:, 1] - joints[:, 2] if _is_canonical(motion) else None
    for moment in moments:
        x, y = points[moment]
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=INK)
        if across is not None:
            forward = np.array([-across[moment, 2], across[moment, 0]])
            forward = forward / max(float(np.linalg.norm(forward)), 1e-6) * 16
            draw.line(((x, y), (x + forward[0], y + forward[1])), fill=LEFT, width=3)
    x, y = points[0]
    draw.ellipse((x - 6, y - 6, x + 6, y + 6), outline=INK, width=2)
    return image


def write_sheet(motion: Motion, path: Path, title: str | None = None, poses: int = 9) -> None:
    """Write a contact sheet as PNG."""
    with atomic_path(Path(path)) as temporary:
        contact_sheet(motion, title, poses).save(temporary, format="PNG")


def frames(motion: Motion, size: int = 400) -> "Iterator[Image.Image]":
    """Every frame as a picture, one after the other; the camera follows the body smoothly."""
    joints = motion.positions.numpy().astype(np.float64)
    parts, head = body(motion), _head(motion)
    height = _height(motion, joints)
    camera = Camera(height=height, size=(size, size))
    centre = joints[:, 0].copy()
    radius = max(1, round(0.4 * motion.fps))
    padded = np.concatenate((centre[:1].repeat(radius, 0), centre, centre[-1:].repeat(radius, 0)))
    kernel = np.hanning(2 * radius + 3)[1:-1]
    kernel /= kernel.sum()
    centre = np.stack([np.convolve(padded[:, axis], kernel, mode="valid") for axis in range(3)], axis=1)
    centre[:, 1] = height / 2 - 0.22
    for pose, here in zip(joints, centre, strict=True):
        yield draw_pose(pose, parts, camera, here, head)


def write_video(motion: Motion, path: Path, size: int = 400) -> None:
    """Write an MP4 (H.264) or GIF, by the suffix, at the motion's own pace.

    Each picture goes to the encoder as soon as it is drawn, so a video of any length takes the same memory. Beyond a
    second a bar shows how far it is.

    Raises:
        MotionFileError: The suffix is neither, or the encoder fails.
        RequestError: The size is not from 64 to 2048 pixels.
    """
    path = Path(path)
    if not 64 <= size <= 2048:
        raise RequestError(f"a video of {size} pixels; 64 to 2048 are drawn")
    size += size % 2
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise MotionFileError(f"{path}: videos are written as .mp4 or .gif")
    # A GIF's clock ticks in hundredths of a second; 20 ms is the least that players respect. More than 30 pictures a
    # second do not show a body better, and cost twice the time.
    gif = path.suffix.lower() == ".gif"
    most = 20.0 if gif else 30.0
    shown = motion.at_fps(most) if motion.fps > most else motion
    if len(shown) > MAX_PICTURES:
        raise MotionFileError(
            f"{path}: {len(shown)} pictures; up to {MAX_PICTURES} are drawn: cut the motion, or name its true rate with"
            " --true-fps"
        )
    with atomic_path(path) as temporary, tempfile.TemporaryDirectory() as folder:
        output = _gif_options(shown, size, Path(folder)) if gif else _MP4
        _encode(shown, size, output, temporary, path)


_MP4 = (
    "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-preset", "veryfast", "-movflags", "+faststart",
    "-f", "mp4",
)  # fmt: skip


def _gif_options(shown: Motion, size: int, folder: Path) -> tuple[str, ...]:
    """Options of a GIF: one palette for all frames, of some of them; a palette of all would need all at once."""
    some = torch.linspace(0, len(shown) - 1, min(len(shown), _PALETTE_FRAMES)).round().long()
    pictures = [np.asarray(picture) for picture in frames(take(shown, some), size)]
    colours = Image.fromarray(np.concatenate(pictures)).quantize(_COLOURS).convert("RGB")
    # ffmpeg wants 16 x 16 pixels of palette.
    distinct = np.unique(np.asarray(colours).reshape(-1, 3), axis=0)
    palette = Image.fromarray(distinct[np.arange(256) % len(distinct)].reshape(16, 16, 3))
    palette.save(folder / "palette.png")
    filters = "[0:v][1:v]paletteuse=dither=none"
    return ("-i", str(folder / "palette.png"), "-lavfi", filters, "-loop", "0", "-f", "gif")


def _encode(shown: Motion, size: int, output: tuple[str, ...], temporary: Path, path: Path) -> None:
    import imageio_ffmpeg
    from tqdm import tqdm

    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
        "-s", f"{size}x{size}", "-r", f"{shown.fps:g}", "-i", "-", *output[: 2 if output[0] == "-i" else 0], "-an",
        *output[2 if output[0] == "-i" else 0 :], str(temporary),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as complaints:
        encoder = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=complaints)
        assert encoder.stdin is not None
        try:
            bar = tqdm(
                frames(shown, size), total=len(shown), desc=path.suffix[1:], unit="frame", delay=1.0, leave=False
            )
            for picture in bar:
                encoder.stdin.write(picture.tobytes())
            encoder.stdin.close()
        except BrokenPipeError:
            # It stopped early; what it said follows.
            pass
        except BaseException:
            encoder.kill()
            raise
        finally:
            status = encoder.wait()
        complaints.seek(0)
        said = complaints.read()[-2000:].decode(errors="replace").strip()
    if status:
        raise MotionFileError(f"{path}: the video encoder failed: {said[-200:]}")
