"""Options of engines."""

from dataclasses import dataclass

from motionloom.errors import RequestError
from motionloom.schema import check


@dataclass(frozen=True)
class EngineOptions:
    """Options of an engine: a frozen dataclass whose fields say type, range and meaning (``schema.ranged``)."""

    def __post_init__(self) -> None:
        check(self, RequestError)
