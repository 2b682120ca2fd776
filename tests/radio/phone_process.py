"""The phone's side for the tests of this folder: echoes what it receives, obeys lines on its standard input.

usage: phone_process.py SPEC STATE_DIR pairing|bonded

Reports on standard output: `listening`, `open`, `closed LinkClosed`. Understands `close` (the stream),
`dlc` (the RFCOMM channel only), `say N` (send N bytes), `deaf` and `hear` (stop and go on reading), `stop`.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

from phone_link.errors import LinkError
from phone_link.transport.base import TransportOptions
from phone_link.transport.bumble.stream import BumbleStream
from phone_link.transport.open import listen


def say(line: str) -> None:
    sys.stdout.write(line + "\n")  # in one piece, whatever other threads say
    sys.stdout.flush()


class Phone:
    def __init__(self, spec: str, state_dir: Path, pairing: bool) -> None:
        self.listener = listen(spec, TransportOptions(state_dir, pairing))
        self.stream: BumbleStream | None = None
        self.echoes: list[threading.Thread] = []
        self.hearing = threading.Event()
        self.hearing.set()

    def serve(self) -> None:
        try:
            while True:
                stream = self.listener.accept(None)
                assert isinstance(stream, BumbleStream)
                self.stream = stream
                say("open")
                echo = threading.Thread(target=self.echo, args=(stream,))
                self.echoes.append(echo)
                echo.start()
        except LinkError:
            return

    def echo(self, stream: BumbleStream) -> None:
        try:
            while True:
                self.hearing.wait()
                stream.write(stream.read(None))
        except LinkError as error:
            stream.close()
            say(f"closed {type(error).__name__}")

    def obey(self, words: list[str]) -> None:
        assert self.stream is not None
        match words:
            case ["close"]:
                self.stream.close()
            case ["dlc"]:
                asyncio.run_coroutine_threadsafe(self.stream._dlc.disconnect(), self.stream._loop).result(5)
            case ["say", count]:
                self.stream.write(bytes(int(count)))
            case ["deaf"]:
                self.hearing.clear()
                say("deaf")
            case ["hear"]:
                self.hearing.set()


def main() -> None:
    spec, state_dir, mode = sys.argv[1:]
    phone = Phone(spec, Path(state_dir), mode == "pairing")
    server = threading.Thread(target=phone.serve)
    server.start()
    say("listening")
    for line in sys.stdin:
        if line == "stop\n":
            break
        phone.obey(line.split())
    phone.hearing.set()
    phone.listener.close()
    for thread in (server, *phone.echoes):
        thread.join(5)
    say(f"threads {threading.active_count()}")


if __name__ == "__main__":
    main()
