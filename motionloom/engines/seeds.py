"""Random seeds of the items of a request."""

import hashlib


def item_seed(seed: int, index: int) -> int:
    """The seed of item ``index`` of a request: far from its neighbours', and the same whatever the count."""
    digest = hashlib.sha256(f"{seed} {index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
