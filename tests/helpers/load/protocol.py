"""A browser's tab without the browser: Streamlit's messages over a web socket."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, Self

from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from helpers.load.changes import Change, Widget, left

_TIMEOUT: Final = 60.0  # seconds without a message, after which no answer is to be expected
_DONE: Final = (
    ForwardMsg.ScriptFinishedStatus.FINISHED_SUCCESSFULLY,
    ForwardMsg.ScriptFinishedStatus.FINISHED_FRAGMENT_RUN_SUCCESSFULLY,
)


class Trouble(Exception):
    """What a person would see go wrong; one line."""


class Lost(Trouble):
    """The connection is gone."""


class Tab:
    """One session of the app.

    Attributes:
        widgets: What lies on the page, by id.
        pages: Path -> hash of all pages: "" for the first.
        page: Hash of the one that is open.
        query: Of the address.
        trouble: What the last act brought up: exceptions and red boxes.
    """

    def __init__(self, address: str) -> None:
        self.widgets: dict[str, Widget] = {}
        self.pages: dict[str, str] = {}
        self.page = self.query = ""
        self.trouble: list[str] = []
        self._address = address
        self._states: dict[str, WidgetState] = {}
        self._known: dict[str, ForwardMsg] = {}  # as the browser keeps large messages
        self._seen: dict[str, Widget] = {}
        self._blocks: list[tuple[int, ...]] = []
        self._fragments: list[str] = []
        self._started = False
        self._open = ExitStack()
        self._socket = self._open.enter_context(
            connect(
                address.replace("http", "ws", 1) + "/_stcore/stream",
                origin=Origin(address),
                subprotocols=[Subprotocol("streamlit")],
                max_size=None,
                proxy=None,
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def open(self, path: str = "", query: str = "") -> float:
        """Opens the app at an address; returns seconds, as all acts do.

        Raises:
            Trouble: No answer came; also from the other acts.
            Lost: The connection is gone; likewise.
        """
        self.query = query
        return self._run(ClientState(page_name=path), ())

    def go(self, path: str, query: str = "") -> float:
        """Follows a link to a page, which drops the address's choices."""
        self.query = query
        return self._run(ClientState(page_script_hash=self.pages[path]), ())

    def make(self, change: Change) -> float:
        """Changes widgets."""
        self._states |= {state.id: state for state in change.states}
        state = ClientState(page_script_hash=self.page, fragment_id=change.fragment)
        return self._run(state, change.triggers)

    def _run(self, state: ClientState, triggers: Sequence[WidgetState]) -> float:
        state.query_string = self.query
        state.widget_states.widgets.extend([*self._states.values(), *triggers])
        state.cached_message_hashes.extend(self._known)
        state.context_info.url = self._address
        state.context_info.timezone = "UTC"
        state.context_info.locale = "en"
        state.context_info.color_scheme = "light"
        self._started, self.trouble = False, []
        start = time.perf_counter()
        try:
            self._socket.send(BackMsg(rerun_script=state).SerializeToString())
            while not self._take(self.receive()):
                pass
        except ConnectionClosed as error:
            raise Lost(f"connection lost: {error}") from error
        except TimeoutError as error:
            raise Trouble(f"no answer within {_TIMEOUT:g} s") from error
        return time.perf_counter() - start

    def receive(self) -> ForwardMsg:
        """The next message, one that was kept here before put in its place."""
        content = self._socket.recv(timeout=_TIMEOUT)
        message = ForwardMsg.FromString(content if isinstance(content, bytes) else b"")
        if message.WhichOneof("type") != "ref_hash":
            if message.metadata.cacheable:
                self._known[message.hash] = message
            return message
        if message.ref_hash not in self._known:
            raise Trouble("a message was left out that was never sent")
        full = ForwardMsg()
        full.CopyFrom(self._known[message.ref_hash])
        full.metadata.CopyFrom(message.metadata)
        return full

    def _take(self, message: ForwardMsg) -> bool:
        """Takes a message in; whether the script has come to its end."""
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._started = True
            self._seen, self._blocks = {}, []
            self._fragments = list(message.metadata.run.fragment_ids)
            self.page = message.new_session.page_script_hash or self.page
        elif kind == "navigation":
            self.pages = {
                one.url_pathname: one.page_script_hash for one in message.navigation.app_pages
            }
            self.page = message.navigation.page_script_hash or self.page
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "page_not_found":
            self.trouble.append("page not found")
        elif kind == "session_event":
            event = message.session_event
            if event.WhichOneof("type") == "script_compilation_exception":
                self.trouble.append(f"{event.script_compilation_exception.message}")
        elif kind == "delta":
            self._draw(message)
        elif kind == "script_finished" and self._started:
            return self._finish(message.script_finished)
        return False

    def _draw(self, message: ForwardMsg) -> None:
        path = tuple(message.metadata.delta_path)
        if message.delta.WhichOneof("type") == "add_block":
            self._blocks.append(path)
        elif message.delta.WhichOneof("type") == "new_element":
            self._place(message.delta.new_element, message.delta.fragment_id, path)

    def _place(self, element: Element, fragment: str, path: tuple[int, ...]) -> None:
        kind = element.WhichOneof("type") or ""
        proto = getattr(element, kind, None)
        if kind == "exception" and not proto.is_warning:
            self.trouble.append(f"{proto.type}: {proto.message}"[:200])
        elif kind == "alert" and proto.format == Alert.Format.ERROR:
            self.trouble.append(f"error box: {proto.body}"[:200])
        name = getattr(proto, "id", "")
        if name:
            self._seen[name] = Widget(kind, proto, fragment, path)
            if getattr(proto, "set_value", False):  # the script's own value wins
                self._states.pop(name, None)

    def _finish(self, status: int) -> bool:
        if status == ForwardMsg.ScriptFinishedStatus.FINISHED_WITH_COMPILE_ERROR:
            raise Trouble("the script does not compile")
        if status not in _DONE:  # it begins anew: the next run's end counts
            self._started = False
            return False
        self.widgets = left(self.widgets, self._seen, self._blocks, self._fragments)
        self._states = {k: state for k, state in self._states.items() if k in self.widgets}
        while len(self._known) > 200:
            self._known.pop(next(iter(self._known)))
        return True
