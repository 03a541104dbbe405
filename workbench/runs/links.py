"""What a folder of runs holds that is no file of its own: links that lead out, pipes, devices.

A run may come from a stranger. A picture that is a link to a private file would be shown like
any other, and a pipe would be waited for without end.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path

_FOLDERS = 4096  # kept in memory: some dozen a run


def leads_out(run: Path | str, within: Path | str) -> str | None:
    """The first thing in a run that leads out of a folder, or is neither file nor folder.

    Folders are listed again only where their modification time has changed, so a run with tens of
    thousands of pictures costs one look at each of its few folders.

    Args:
        run: The run's folder.
        within: What nothing may lead out of, such as the folder of all runs.

    Returns:
        Its name within the run, "." for the run itself; None where there is none.
    """
    root, boundary = os.path.realpath(run), os.path.realpath(within)
    if not _is_in(root, boundary):
        return "."
    waiting, seen = [root], {root}
    for folder in waiting:  # grows meanwhile
        try:
            status = os.stat(folder)
        except OSError:
            continue
        folders, odd = _listed(folder, status.st_mtime_ns, status.st_ino)
        for name in odd:
            path = os.path.join(folder, name)
            target = os.path.realpath(path)
            if not (os.path.islink(path) and _is_in(target, boundary)):
                return os.path.relpath(path, root)
            if target not in seen and os.path.isdir(target):
                seen.add(target)
                waiting.append(target)
        waiting += [os.path.join(folder, name) for name in folders]
    return None


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


@lru_cache(maxsize=_FOLDERS)
def _listed(folder: str, modified: int, inode: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Folders in a folder, and what is neither a folder nor a file; both sorted."""
    folders, odd = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif not entry.is_file(follow_symlinks=False) and _is_there(entry):
                    odd.append(entry.name)
    except OSError:
        return (), ()
    return tuple(sorted(folders)), tuple(sorted(odd))


def _is_there(entry: os.DirEntry[str]) -> bool:
    """Not gone meanwhile: a writer's temporary file would look odd."""
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
