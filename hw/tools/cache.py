"""Stages of a build, each made again only when something that it depends on has changed."""
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
import hashlib
import json
import os
from pathlib import Path
import shutil
import tempfile

__all__ = ["Stages", "digest_of_files", "digest_of_sources"]

ROOT = Path(__file__).resolve().parents[2]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_files(paths: Sequence[Path]) -> str:
    """Digest of files' names and contents."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(os.fsencode(path.name) + f"\0{_sha256(path)}\0".encode())
    return digest.hexdigest()


def digest_of_sources(*packages: str) -> str:
    """Digest of the Python sources of our packages or modules, given by their path from the root (`hw`, `golden/cycles`)."""
    digest = hashlib.sha256()
    for package in packages:
        folder = ROOT / package
        for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]:
            digest.update(f"{path.relative_to(ROOT)}\0{_sha256(path)}\0".encode())
    return digest.hexdigest()


class Stages:
    """Makes the files of a folder stage by stage.

    A stage is known by its name. Its record, `<name>.stage.json`, holds the key under which its files were made and their
    digests; as long as both are as they were, it is not made again. Files are made in a folder of their own and moved when they
    are complete, so whatever interrupts a stage leaves the files of the last one or none.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".making-*"):           # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)

    def _record(self, name: str) -> Path:
        return self.folder / f"{name}.stage.json"

    def forget(self, name: str) -> None:
        """Removes a stage's files and its record."""
        try:
            files = json.loads(self._record(name).read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            files = ()
        for path in (self._record(name), *(self.folder / file for file in files)):
            path.unlink(missing_ok=True)

    def fresh(self, name: str, depends: Mapping[str, object], inputs: Sequence[str] = ()) -> bool:
        """Whether the stage's files are there, whole, and made from just this."""
        try:
            record = json.loads(self._record(name).read_text(encoding="utf-8"))
            return record["key"] == self._key(depends, inputs) and all(_sha256(self.folder / file) == digest
                                                                       for file, digest in record["files"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def _key(self, depends: Mapping[str, object], inputs: Sequence[str]) -> str:
        files = {name: _sha256(self.folder / name) for name in inputs}
        return hashlib.sha256(json.dumps([depends, files], sort_keys=True).encode()).hexdigest()

    def make(self, name: str, depends: Mapping[str, object], action: Callable[[Path], None], inputs: Sequence[str] = ()) -> bool:
        """Runs `action` on a folder of its own, unless the stage is fresh; all files that it leaves there become the stage's.

        `inputs`: files of earlier stages, which the folder begins with and which do not become the stage's. `depends` holds
        everything else that the result depends on, as JSON. Returns whether the action ran. What it raises passes through; the
        stage's files are then as before.
        """
        if self.fresh(name, depends, inputs):
            return False
        key = self._key(depends, inputs)
        with self._folder(name) as making:
            for file in inputs:
                shutil.copyfile(self.folder / file, making / file)
            action(making)
            for file in inputs:
                (making / file).unlink(missing_ok=True)
            files = sorted(path for path in making.rglob("*") if path.is_file())
            record = {"key": key, "depends": depends, "files": {str(path.relative_to(making)): _sha256(path) for path in files}}
            self._record(name).unlink(missing_ok=True)      # from here to the end the stage counts as not made
            for path in files:
                target = self.folder / path.relative_to(making)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
            written = making / "record"
            written.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            os.replace(written, self._record(name))
        return True

    @contextmanager
    def _folder(self, name: str):
        making = Path(tempfile.mkdtemp(prefix=f".making-{name}-", dir=self.folder))
        try:
            yield making
        except BaseException as error:
            # The log says why, so it stays; who names it must name the place to which it went.
            for log in making.glob("*.log"):
                os.replace(log, self.folder / log.name)
            error.args = tuple(part.replace(str(making), str(self.folder)) if isinstance(part, str) else part
                               for part in error.args)
            raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
