"""Ways to damage a file, by its kind: bytes anywhere, words and numbers of texts, sizes in headers, packed members."""

import io
import re
import struct
import zipfile
from collections.abc import Callable
from random import Random

_WORDS = (
    b"nan", b"-inf", b"1e400", b"1e-320", b"-1", b"0", b"9" * 30, b"1" + b"0" * 400, b"{", b"}", b"[", b"]", b"null",
    b"JOINT", b"End Site", b"begin", b"end", b"\xff\xfe", b"\x00", b"0x1f", b"1_0", "\u0663".encode(), b"''", b"true",
    b"18446744073709551616", b"4294967295", b"2147483648", b"1e9", b"1e-9", b"/../..", b"\xed\xa0\x80",
)  # fmt: skip
_SIZES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1)


def flip(raw: bytes, rng: Random, other: bytes) -> bytes:
    """Change some bits."""
    data = bytearray(raw)
    for _turn in range(rng.randint(1, 6)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def scribble(raw: bytes, rng: Random, _: bytes) -> bytes:
    """Write other bytes over some."""
    data = bytearray(raw)
    start, count = rng.randrange(len(data) + 1), rng.randint(1, 16)
    data[start : start + count] = rng.randbytes(count)
    return bytes(data)


def cut(raw: bytes, rng: Random, _: bytes) -> bytes:
    """Leave the end off."""
    return raw[: rng.randrange(len(raw) + 1)]


def drop(raw: bytes, rng: Random, _: bytes) -> bytes:
    """Take a piece out."""
    start = rng.randrange(len(raw) + 1)
    return raw[:start] + raw[start + rng.randint(1, 64) :]


def repeat(raw: bytes, rng: Random, _: bytes) -> bytes:
    """Have a piece several times."""
    start = rng.randrange(len(raw) + 1)
    piece = raw[start : start + rng.randint(1, 200)]
    return raw[:start] + piece * rng.choice((2, 3, 50)) + raw[start:]


def splice(raw: bytes, rng: Random, other: bytes) -> bytes:
    """Go on with another file."""
    return raw[: rng.randrange(len(raw) + 1)] + other[rng.randrange(len(other) + 1) :]


def word(raw: bytes, rng: Random, _: bytes) -> bytes:
    """Put an odd word in the place of one."""
    places = [match.span() for match in re.finditer(rb"[^\s,\[\]{}:\"()]+", raw[: 1 << 16])]
    if not places:
        return raw + rng.choice(_WORDS)
    start, stop = rng.choice(places)
    return raw[:start] + rng.choice(_WORDS) + raw[stop:]


def line(raw: bytes, rng: Random, _: bytes) -> bytes:
    """Drop, repeat or swap lines."""
    lines = raw.split(b"\n")
    place = rng.randrange(len(lines))
    how = rng.randrange(3)
    if how == 0:
        del lines[place]
    elif how == 1:
        lines[place:place] = lines[place : place + 2] * rng.choice((1, 20))
    else:
        other = rng.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    return b"\n".join(lines)


def size(raw: bytes, rng: Random, _: bytes) -> bytes:
    """Put an extreme number in the place of two, four or eight bytes."""
    width = rng.choice((2, 4, 8))
    if len(raw) < width:
        return raw
    start = rng.randrange(min(len(raw) - width + 1, 4096) or 1)
    number = rng.choice(_SIZES) % 2 ** (8 * width)
    return raw[:start] + struct.pack("<Q", number)[:width] + raw[start + width :]


def member(raw: bytes, rng: Random, other: bytes) -> bytes:
    """Damage a member of an archive and pack it again, so that its sum is right."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
        parts = {name: archive.read(name) for name in archive.namelist()}
    except Exception:
        return flip(raw, rng, other)
    if not parts:
        return raw
    name = rng.choice(sorted(parts))
    way = rng.choice((flip, scribble, cut, word, size, _shape))
    parts[name] = way(parts[name], rng, other)
    if rng.random() < 0.1:
        parts[rng.choice(("poses.npy", "trans.npy", "../evil.npy"))] = parts.pop(name)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as packed:
        for key, data in parts.items():
            packed.writestr(key, data)
    return file.getvalue()


def _shape(raw: bytes, rng: Random, _: bytes) -> bytes:
    """Change the shape or the type in an npy header."""
    shape = rng.choice((b"(0, 9)", b"()", b"(1, 1, 1)", b"(-1, 3)", b"(99999999999,)", b"(3, 22, 3)", b"(2, 156)"))
    kind = rng.choice((b"|O", b"<f2", b"<c16", b"|b1", b"<U3", b"<M8[s]", b">f8", b"|V4", b"<i8"))
    if rng.random() < 0.5:
        return re.sub(rb"\([^)]*\)", shape, raw[:200], count=1) + raw[200:]
    return re.sub(rb"'descr': '[^']*'", b"'descr': '" + kind + b"'", raw[:200], count=1) + raw[200:]


Mutator = Callable[[bytes, Random, bytes], bytes]
ANY: tuple[Mutator, ...] = (flip, scribble, cut, drop, repeat, splice, size)
TEXT: tuple[Mutator, ...] = (word, word, word, line, line, cut, repeat, splice, scribble)
PACKED: tuple[Mutator, ...] = (member, member, member, flip, cut, size)


def chunk(raw: bytes, rng: Random, other: bytes) -> bytes:
    """Damage the JSON of a GLB and set its sizes right again."""
    if raw[:4] != b"glTF" or len(raw) < 28:
        return flip(raw, rng, other)
    length = struct.unpack_from("<I", raw, 12)[0]
    text = rng.choice((word, word, line, drop))(raw[20 : 20 + length], rng, other)
    text += b" " * (-len(text) % 4)
    rest = raw[20 + length :]
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON")
    return head + text + rest


BY_SUFFIX: dict[str, tuple[Mutator, ...]] = {
    ".bvh": TEXT, ".amc": TEXT, ".csv": TEXT, ".json": TEXT, ".toml": TEXT, ".npz": PACKED, ".npy": (*ANY, _shape),
    ".glb": (chunk, chunk, chunk, *ANY),
}  # fmt: skip


def mutate(raw: bytes, suffix: str, rng: Random, other: bytes) -> bytes:
    """Damage a file in one to three ways."""
    for _ in range(rng.randint(1, 3)):
        raw = rng.choice(BY_SUFFIX.get(suffix, ANY))(raw, rng, other)
    return raw
