"""A mounted encrypted tree in a process of its own, without a phone: for tests of the file system alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from support.checking import assert_whole
from support.needs import need_fuse

_CHECKOUT = Path(__file__).parents[2]
_SEARCH = [str(_CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
_HANG_S = 60
"""A serving process that has not answered by then hangs: killed, so that the test fails."""
_CHILD = Path(__file__).with_name("mounted_tree_child.py")


class MountedTree:
    def __init__(self, base: Path, cipher: str, *options: str) -> None:
        self.base = base
        self.cipher = cipher
        self.options = options
        self.tree = base / "tree"
        self.path = base / "mnt"
        self.undone = 0
        """Half-done changes that the start undid."""
        self.damaged = False
        self._process: subprocess.Popen[str] | None = None
        self.path.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_CHILD), str(self.base), self.cipher, *self.options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_SEARCH)},
        )
        self.undone = int(self._answer("ready"))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def tell(self, word: str) -> None:
        """freeze, thaw, lock or unlock; returns when it is done."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        self._expect("done " + word)

    def kill(self) -> None:
        """kill -9, and clear the dead mount away."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        self._close_pipes()
        subprocess.run(["fusermount3", "-u", "-z", "--", str(self.path)], check=True, capture_output=True)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        self._process = process
        with contextlib.suppress(BrokenPipeError):
            self.tell("quit")
        process.wait(20)
        self._close_pipes()
        assert process.returncode == 0

    def end_after_failed_start(self) -> None:
        """The serving process could not start, and has ended by itself."""
        process, self._process = self._process, None
        assert process is not None
        assert process.wait(20) != 0
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def remount(self) -> None:
        self.stop()
        self.start()

    def _expect(self, line: str) -> None:
        assert self._answer(line) == ""

    def _answer(self, line: str) -> str:
        assert self._process is not None and self._process.stdout is not None
        guard = threading.Timer(_HANG_S, self._process.kill)
        guard.start()
        try:
            answer = self._process.stdout.readline().strip()
        finally:
            guard.cancel()
        assert answer.startswith(line), answer
        return answer[len(line) :]

    def _close_pipes(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def mounted_tree(base: Path, cipher: str = "aes-256-gcm", *options: str) -> Iterator[MountedTree]:
    """``options``: shared, read_only, allow_other, suid, dev; faulty: see ``support.faults``.

    In the end the ciphertext must be whole, unless the test says that it damaged it.
    """
    need_fuse()
    tree = MountedTree(base, cipher, *options)
    tree.start()
    try:
        yield tree
    finally:
        tree.stop()
        assert not os.path.ismount(tree.path)
    if not tree.damaged:
        assert_whole(tree.tree, cipher)
