"""Tasks that report in their own way: one file each, found by name, imported by nobody.

A file holds `NAME`, the key it fills in `findings.json`, and `view(answers)`, the value, None where its task was
not answered. A task without a file is reported under `tasks` like every other.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from medmtl.answers import Answers

View = Callable[[Answers], Any]


def collect_views() -> Mapping[str, View]:
    """Key in `findings.json` to the function that fills it, from every file of this folder.

    Raises:
        ValueError: two files fill the same key.
    """
    views: dict[str, View] = {}
    for module_info in iter_modules(__path__):
        module = import_module(f"{__name__}.{module_info.name}")
        if module.NAME in views:
            raise ValueError(f"two files report {module.NAME}")
        views[module.NAME] = module.view
    return views
