"""Finding the kinds of a seam: the modules of its folder, and what other distributions register as entry points.

It knows nothing of senders or mailboxes. A kind is a module that sets ``KIND`` (its own name, as in the
configuration) and ``OPTIONS`` (its options dataclass). Only the kind that is asked for is imported, so that a kind
whose library is not installed hurts nobody who does not use it; and an ImportError is never swallowed, for it would
otherwise be reported as a misspelt kind.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

_DECLARES_KIND = re.compile(r"^KIND\b[^=\n]*=", re.MULTILINE)


class UnknownKind(LookupError):
    """No kind of that name; ``names`` holds those that exist."""

    def __init__(self, name: str, names: tuple[str, ...]) -> None:
        self.name = name
        self.names = names
        super().__init__(f"no kind {name!r}: there is {', '.join(names) or 'none'}")


class Kinds:
    """The kinds in the package ``package`` and in the entry point group ``group``; a kind of the folder goes first."""

    def __init__(self, package: str, group: str) -> None:
        self._package = package
        self._group = group

    def names(self) -> tuple[str, ...]:
        """Every kind's name, sorted; imports none of them."""
        return tuple(sorted({*self._in_folder(), *self._registered()}))

    def kind(self, name: str) -> ModuleType:
        """The module of the kind ``name``. Raises UnknownKind, or whatever its import raises."""
        if name in self._in_folder():
            module = importlib.import_module(f"{self._package}.{name}")
        else:
            registered = self._registered().get(name)
            if registered is None:
                raise UnknownKind(name, self.names())
            module = registered.load()
        if getattr(module, "KIND", None) != name:
            raise ImportError(f"{module.__name__} calls itself {getattr(module, 'KIND', None)!r}, not {name!r}")
        return module

    def _in_folder(self) -> tuple[str, ...]:
        package = importlib.import_module(self._package)
        modules = (found.name for found in pkgutil.iter_modules(package.__path__))
        return tuple(name for name in modules if _declares_kind(f"{self._package}.{name}"))

    def _registered(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self._group)}


def _declares_kind(module: str) -> bool:
    """Whether the module sets KIND, told from its source: helpers lie in the same folder and must not be imported."""
    spec = importlib.util.find_spec(module)
    read = getattr(spec.loader, "get_source", None) if spec else None
    source = read(module) if read else None
    return source is not None and _DECLARES_KIND.search(source) is not None
