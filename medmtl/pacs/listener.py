"""The node: an ear, a head and a messenger on one queue, each in a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medmtl.errors import Code, OutputError
from medmtl.pacs.answering import Answering
from medmtl.pacs.courier import Courier
from medmtl.pacs.inbox import Inbox
from medmtl.pacs.queue import Queue
from medmtl.pacs.receiver import Receiver
from medmtl.pacs.settings import Settings

log = logging.getLogger(__name__)

_LOOK_S = 1.0  # how long a change by `medmtl queue` may go unseen
_DAY_S = 86400.0
_SWEEP_S = 3600.0
_PATIENCE_S = 20.0


class Listener:
    """A DICOM node that answers what it is sent.

    Args:
        settings: who may send, what is answered, where results go.
        workspace: folder; the node's own part of it is `pacs/`.
        tell: called with each event, its kind and values, from several threads.
        environment: variables for the process that answers.
    """

    def __init__(
        self, settings: Settings, workspace: Path, tell: Callable[..., None], environment: Mapping[str, str]
    ) -> None:
        self._settings, self._tell = settings, tell
        self._inbox = Inbox(root=workspace / "pacs")
        self._inbox.prepare()
        self._queue = Queue(self._inbox.root)
        self._answering = Answering(settings, self._inbox, self._queue, tell, environment)
        self._courier = Courier(settings, self._inbox, self._queue, tell)
        self._receiver = Receiver(
            settings, self._inbox, self._queue,
            stored=self._stored, committed=self._courier.reported, asked=self._asked,
        )  # fmt: skip
        self._news = {"answering": threading.Event(), "courier": threading.Event()}
        self._ending = threading.Event()
        self._swept = 0.0

    def run(self, until: threading.Event) -> None:
        """Takes up what a former run left, and works until `until` is set.

        Raises:
            OutputError: `cannot-write`, another node works in this workspace, or the port is taken.
        """
        with _alone(self._inbox.root):
            self._queue.recover()
            self._receiver.start()
            threads = [
                threading.Thread(target=self._work, args=("answering", self._answer), daemon=True),
                threading.Thread(target=self._work, args=("courier", self._deliver), daemon=True),
            ]
            for thread in threads:
                thread.start()
            self._tell("listening", ae_title=self._settings.node.ae_title, port=self._receiver.port)
            until.wait()
            self._ending.set()
            self._receiver.stop()
            self._answering.stop()
            for news in self._news.values():
                news.set()
            for thread in threads:
                thread.join(_PATIENCE_S)
            self._queue.close()

    def _work(self, name: str, step: Callable[[], bool]) -> None:
        look = min(_LOOK_S, max(self._settings.accept.quiet_s / 2, 0.05))
        while not self._ending.is_set():
            self._news[name].clear()
            try:
                busy = step()
            except Exception as fault:  # the boundary of a case: the node stays, and so does what it was at
                log.debug("a step of the node failed", exc_info=True)
                log.error("%s %s: %s; it is tried again", Code.INTERNAL_ERROR, name, type(fault).__name__)
                busy = False
            if not busy:
                self._news[name].wait(look)

    def _answer(self) -> bool:
        now = time.time()
        self._answering.close_quiet(now)
        busy = self._answering.answer_next()
        if busy:
            self._news["courier"].set()
        elif now - self._swept > _SWEEP_S:
            self._swept = now
            self._sweep(now)
        return busy

    def _deliver(self) -> bool:
        return self._courier.answer_commitment() or self._courier.deliver_next(time.time())

    def _sweep(self, now: float) -> None:
        if self._settings.retention_days is None:
            return
        studies, jobs = self._queue.expired(now - self._settings.retention_days * _DAY_S)
        self._queue.forget(studies)
        removed = self._inbox.remove(studies, jobs)
        if removed:
            self._tell("removed", folders=removed)

    def _stored(self, name: str) -> None:
        self._tell("received", study=name)

    def _asked(self, *request: Any) -> None:
        self._courier.asked(*request)
        self._news["courier"].set()


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Holds the workspace: two nodes in one would answer and send everything twice."""
    import fcntl  # not on Windows, where the node does not run

    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            what = "another medmtl listen works in this workspace"
            raise OutputError(Code.CANNOT_WRITE, what, "end it, or give another --workspace") from fault
        yield
