"""Which versions are served: the folder's state, brought into memory one change at a time.

One thread calls ``sync``, ``load`` and ``unload``; any thread may read at any time. Every change
puts new ``Versions`` of a name in place of the old ones, so that readers see all of a name or none.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from tieshare_service.inference.errors import (
    LoadFailed,
    ModelNotFound,
    ModelNotReady,
    NotLoaded,
)
from tieshare_service.inference.folder import Found, scan, set_unloaded, unloaded
from tieshare_service.inference.model import Model, load
from tieshare_service.inference.session import give_back

UNLOADED = "unloaded"
State = Literal["READY", "LOADING", "UNAVAILABLE"]
Loader = Callable[[Path, str, int, int], Model]


@dataclass(frozen=True)
class Slot:
    """One version. ``model`` answers whatever the state says of the file found last."""

    found: Found
    state: State
    reason: str = ""
    model: Model | None = None


@dataclass(frozen=True)
class Versions:
    """All versions of one name."""

    slots: Mapping[int, Slot]

    @cached_property
    def latest(self) -> Model | None:
        """The highest version that answers: the one meant when none is asked for."""
        ready = {version: slot.model for version, slot in self.slots.items() if slot.model}
        return ready[max(ready)] if ready else None


class Repository:
    """The served versions of a models folder; ``threads`` is what one run may use."""

    def __init__(self, models_dir: Path, threads: int, loader: Loader = load) -> None:
        self._models_dir = models_dir
        self._threads = threads
        self._load = loader
        self._table: dict[str, Versions] = {}
        self._synced = False
        self.look_s = 0.0
        """How long the last ``sync`` has looked for what changed."""

    @property
    def ready(self) -> bool:
        """Whether all that the folder held at the start has been loaded or given up."""
        return self._synced

    def get(self, name: str, version: str | None = None) -> Model:
        """The model that answers for this name and version, or for the name alone.

        Raises ModelNotFound, or ModelNotReady with the reason.
        """
        versions = self._versions(name)
        if version is None:
            if versions.latest is not None:
                return versions.latest
            slot = versions.slots[max(versions.slots)]
        else:
            slot = self._slot(name, versions, version)
            if slot.model is not None:
                return slot.model
        what = f"model {name!r}" if version is None else f"model {name!r} version {version}"
        if slot.reason == UNLOADED:
            raise ModelNotReady(f"{what} is unloaded")
        raise ModelNotReady(
            f"{what} is loading" if slot.state == "LOADING" else f"{what} failed: {slot.reason}"
        )

    def ready_versions(self, name: str) -> list[int]:
        """The versions of a name that answer, in order."""
        return sorted(v for v, slot in self._versions(name).slots.items() if slot.model)

    def index(self) -> list[tuple[str, int, Slot]]:
        """Every version in the folder with its state, by name and version."""
        # of a copy: names come and go while another thread reads
        return [
            (name, version, slot)
            for name, versions in sorted(self._table.copy().items())
            for version, slot in sorted(versions.slots.items())
        ]

    def versions(self) -> set[tuple[str, int]]:
        """Every version in the folder, whatever its state."""
        return {(name, version) for name, version, _ in self.index()}

    def sync(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Bring the table in step with the folder: forget what went, then load what came.

        A version takes over only when it has loaded and run; until then, or if it fails, whatever
        answered before goes on. A failed file is not tried again until it changes. Ends early
        once ``stopped()``. Raises OSError where the folder can't be read, changing nothing.
        """
        began = time.perf_counter()
        found = scan(self._models_dir)
        for name, version, _ in self.index():
            if (name, version) not in found:
                self._put(name, version, None)
        resting = self._noted({name for name, _ in found})
        for (name, version), file in found.items():
            slot = Slot(file, "UNAVAILABLE", UNLOADED)
            if name in resting and self._known(name, version) != slot:
                self._put(name, version, slot)
        coming = [
            key for key, file in found.items() if key[0] not in resting and self._differs(key, file)
        ]
        for name, version in coming:
            known = self._known(name, version)
            model = known.model if known else None
            self._put(name, version, Slot(found[name, version], "LOADING", model=model))
        self.look_s = time.perf_counter() - began
        # the newest versions first: they are what an unversioned request wants
        for name, version in sorted(coming, key=lambda key: -key[1]):
            if stopped():
                return
            self._bring(name, version)
        self._synced = True

    def unload(self, name: str) -> None:
        """Serve no version of this name, later ones included, until ``load``.

        Raises ModelNotFound, or NotLoaded where the folder can't be written.
        """
        slots = self._versions(name).slots
        self._note(name, unloaded=True)
        for version, slot in slots.items():
            self._put(name, version, Slot(slot.found, "UNAVAILABLE", UNLOADED))
        give_back()

    def load(self, name: str) -> None:
        """Load each version of this name in the folder, again where it is loaded.

        Raises ModelNotFound, or NotLoaded where none of them can be.
        """
        found = {key: file for key, file in scan(self._models_dir).items() if key[0] == name}
        if not found:
            raise ModelNotFound(f"no model {name!r}")
        self._note(name, unloaded=False)
        for (_, version), file in sorted(found.items(), key=lambda item: -item[0][1]):
            known = self._known(name, version)
            self._put(name, version, Slot(file, "LOADING", model=known.model if known else None))
            self._bring(name, version)
        if self._versions(name).latest is None:
            newest = self._versions(name).slots[max(self._versions(name).slots)]
            raise NotLoaded(f"model {name!r} can't be loaded: {newest.reason}")

    def _noted(self, names: Collection[str]) -> set[str]:
        """Those of these names that are unloaded; of others, nothing is noted any more."""
        noted = unloaded(self._models_dir)
        for name in noted.difference(names):
            set_unloaded(self._models_dir, name, state=False)
        return noted.intersection(names)

    def _note(self, name: str, *, unloaded: bool) -> None:
        try:
            set_unloaded(self._models_dir, name, state=unloaded)
        except OSError as error:
            raise NotLoaded(f"the models folder can't be written: {error.strerror}") from error

    def _bring(self, name: str, version: int) -> None:
        slot = self._table[name].slots[version]
        try:
            model = self._load(Path(slot.found.path), name, version, self._threads)
        except LoadFailed as error:
            state: State = "READY" if slot.model else "UNAVAILABLE"
            self._put(name, version, replace(slot, state=state, reason=error.message))
        else:
            self._put(name, version, Slot(slot.found, "READY", model=model))

    def _put(self, name: str, version: int, slot: Slot | None) -> None:
        known = self._table.get(name)
        slots = dict(known.slots) if known else {}
        slots.pop(version, None)
        if slot is not None:
            slots[version] = slot
        if slots:
            self._table[name] = Versions(slots)
        else:
            self._table.pop(name, None)

    def _differs(self, key: tuple[str, int], file: Found) -> bool:
        known = self._known(*key)
        return (
            known is None
            or known.found != file
            or known.state == "LOADING"
            or known.reason == UNLOADED
        )

    def _known(self, name: str, version: int) -> Slot | None:
        versions = self._table.get(name)
        return versions.slots.get(version) if versions else None

    def _versions(self, name: str) -> Versions:
        versions = self._table.get(name)
        if versions is None:
            raise ModelNotFound(f"no model {name!r}")
        return versions

    def _slot(self, name: str, versions: Versions, version: str) -> Slot:
        slot = None
        if version.isascii() and version.isdigit() and len(version) < 19:
            slot = versions.slots.get(int(version))
        if slot is None:
            raise ModelNotFound(f"model {name!r} has no version {version!r}")
        return slot
