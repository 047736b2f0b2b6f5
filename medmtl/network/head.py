"""What the network needs to know of a task."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Head:
    """A task's name, its channels, whether it is a map, whether labels exclude each other."""

    name: str
    outputs: int
    dense: bool
    exclusive: bool
