"""The guard of a store: is it the newest copy, ours, and written by its last incarnation alone?

Beside whatever keeps the bytes: with every commit it writes a mark (how many there were, a hash
over all of them) and the writer's generation, and repeats the mark outside. An older copy that was
put in the place of the newest one could lose all funds: it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage import causes
from storage.errors import Foreign, Missing, Stale
from storage.mirror import Mirror
from storage.store import NOTHING, Backend, Changes, Mark, mark_from

META, IDENTITY, REMADE = b"\x00mark", b"\x00identity", b"\x00remade"


class Guarded:
    """A `Store`. `mirror`: the file of its mark. `identity` (node and actor) must be the one that
    it was made with.

    `remakeable`: what it holds can be learnt again, so that a missing one is made anew; `remade`
    then says so. A damaged or older one is refused all the same. Raises `StoreError`.
    """

    def __init__(
        self, backend: Backend, mirror: str, identity: bytes, *, remakeable: bool = False
    ) -> None:
        self._backend, self._what = backend, backend.what
        try:
            self._mirror = Mirror(mirror)
            mirrored = self._mirror.read()
        except OSError as error:
            raise causes.explained(str(error), self._what, mirror) from None
        fresh = mirrored == NOTHING
        self.just_remade = not fresh and not backend.exists()
        if self.just_remade and not remakeable:
            raise self._missing()
        backend.open(create=fresh or self.just_remade)
        try:
            if not fresh and backend.get(META) is None:
                # each commit writes it: whoever made this one anew was killed before the first
                self.just_remade = True
                if not remakeable:
                    raise self._missing()
            self._take_over(mirrored, identity)
        except BaseException:
            backend.close()
            raise

    def _missing(self) -> Missing:
        place = self._backend.place
        return Missing(f"the {self._what} store is missing ({place}): restore it from a backup")

    def _take_over(self, mirrored: Mark, identity: bytes) -> None:
        """It is checked, and ours from now on."""
        self.mark, stored = self._read_mark()
        if self.just_remade:
            # every earlier life has made a commit: its generation was lower
            self.mark, stored = Mark(mirrored.commits, NOTHING.hash), mirrored.commits
        else:
            self._check(mirrored, identity, fresh=stored is None)
        self.generation = (stored or 0) + 1
        anew = {REMADE: self.generation.to_bytes(8, "big")} if self.just_remade else {}
        # the fence: from this commit on an older incarnation is known by its generation
        self.commit({IDENTITY: identity, **anew})
        self.remade = int.from_bytes(self.get(REMADE) or b"", "big")

    def _read_mark(self) -> tuple[Mark, int | None]:
        data = self.get(META)
        if data is None:
            return NOTHING, None
        return mark_from(data), int.from_bytes(data[40:48], "big")

    def _check(self, mirrored: Mark, identity: bytes, *, fresh: bool) -> None:
        if self.mark.commits < mirrored.commits:
            raise Stale(
                f"the {self._what} store is older than the last run "
                f"({self.mark.commits} commits of {mirrored.commits}): an old copy could lose "
                "all funds, so restore the newest one"
            )
        if self.mark.commits == mirrored.commits and self.mark.hash != mirrored.hash:
            raise Stale(
                f"the {self._what} store has another history than the last run: "
                "restore the newest copy"
            )
        # a kill between the very first write and its mark leaves a store without one
        if not fresh and mirrored == NOTHING and self.mark.commits > 1:
            raise Stale(
                f"the mark that proves the {self._what} store to be the newest is missing or "
                f"empty ({self._mirror.path}): restore it with the store"
            )
        if not fresh and self.get(IDENTITY) != identity:
            raise Foreign(
                f"the {self._what} store belongs to another node: "
                "use the seed that it was made with, or another folder"
            )

    def get(self, key: bytes) -> bytes | None:
        return self._backend.get(key)

    def below(self, prefix: bytes) -> dict[bytes, bytes]:
        return self._backend.below(prefix)

    def load(self, but: Sequence[bytes] = ()) -> dict[bytes, bytes]:
        found = self._backend.load(but)
        del found[META], found[IDENTITY]
        return found

    def commit(self, changes: Changes) -> None:
        mark = self.mark.after(changes)
        marked = {**changes, META: bytes(mark) + self.generation.to_bytes(8, "big")}
        self._backend.write(marked)
        self.mark = mark
        try:
            self._mirror.write(mark)
        except OSError as error:
            raise causes.not_written(str(error), self._what) from None

    def close(self) -> None:
        self._backend.close()
        self._mirror.close()
