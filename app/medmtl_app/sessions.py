"""Who may fetch what: a token per browser session, and a grant per study that the session opened."""

import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(kw_only=True)
class _Session:
    token: str
    reader: str = ""
    grants: dict[str, str] = field(default_factory=dict)  # grant to study


class Sessions:
    """Tokens of live browser sessions.

    Args:
        is_alive: whether the session of this id still has its tab open.
    """

    def __init__(self, is_alive: Callable[[str], bool]) -> None:
        self._is_alive = is_alive
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}

    def token(self, session_id: str, reader: str = "") -> str:
        """The session's token, the same each time; `reader` is who has signed in, empty without sign-in."""
        with self._lock:
            gone = [known for known in self._sessions if known != session_id and not self._is_alive(known)]
            for known in gone:
                del self._sessions[known]
            if session_id not in self._sessions:
                self._sessions[session_id] = _Session(token=secrets.token_urlsafe(32))
            self._sessions[session_id].reader = reader
            return self._sessions[session_id].token

    def reader(self, session_id: str) -> str:
        """Who has signed in, empty without sign-in."""
        with self._lock:
            session = self._sessions.get(session_id)
            return "" if session is None else session.reader

    def session_of(self, token: str) -> str | None:
        """The live session that holds `token`."""
        with self._lock:
            for session_id, session in self._sessions.items():
                if hmac.compare_digest(session.token.encode(), token.encode("utf-8", "replace")):
                    return session_id if self._is_alive(session_id) else None
        return None

    def grant(self, session_id: str, study_id: str) -> str:
        """A secret that stands for the study in this session alone."""
        with self._lock:
            session = self._sessions[session_id]
            for grant, known in session.grants.items():
                if known == study_id:
                    return grant
            grant = secrets.token_urlsafe(24)
            session.grants[grant] = study_id
            return grant

    def study_of(self, session_id: str, grant: str) -> str | None:
        """The study that `grant` stands for in this session."""
        with self._lock:
            session = self._sessions.get(session_id)
            return None if session is None else session.grants.get(grant)
