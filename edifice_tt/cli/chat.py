"""The command chat: best-of-N for each turn of a conversation. Prints; computes nothing.

Reads lines from a terminal or from elsewhere. Knows no model and no pool file's lines.
"""

import argparse
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import edifice_tt as et
from edifice_tt.cli import judging, options, outputs, terminal
from edifice_tt.cli.choosing import Chooser, add_selection
from edifice_tt.cli.leader import Leader
from edifice_tt.cli.options import Add
from edifice_tt.cli.spelling import as_typed
from edifice_tt.contract.errors import EdificeError, unknown_name
from edifice_tt.contract.tracing import message_of

if TYPE_CHECKING:
    from edifice_tt.sampling.request import Request

HEADING = "sample answers"
COMMANDS = {
    "/show": "all candidates of the last turn, with their scores",
    "/pick K": "go on with candidate K in place of the chosen one",
    "/reset": "forget the conversation",
    "/help": "this list",
    "/quit": "end, as the end of the input does",
}


def register(add: Add) -> None:
    """Add the command of this room."""
    groups = (options.add_sampling, add_selection, options.add_scoring)
    chat = add("chat", _chat, "talk, with the best of N answers in each turn", *groups)
    judging.add_judging(chat)
    outputs.add_output(chat, "keep the scored pool of each turn in this file")


def _chat(arguments: argparse.Namespace) -> int:
    chooser = Chooser(arguments)
    if arguments.raw:
        raise ValueError("--raw is for a text that goes on, and a chat has turns; leave it out")
    if arguments.output:
        outputs.check_new(arguments)
    request = options.request_of(arguments, reads=chooser.reads)
    lm = chooser.load(request.devices)
    if not lm.tokenizer.has_chat_template:
        raise EdificeError(f"{arguments.model}: its model knows no chats; ask it with best-of")
    talk = Conversation(arguments, lm, chooser, request)
    terminal.say("Ctrl-C ends a turn, /help lists commands, /quit or Ctrl-D ends.")
    with _told_to_end() as ended:
        while (line := _read(ended)) is not None:
            try:
                if talk.hear(line.strip()) or ended():
                    break
            except KeyboardInterrupt:
                if ended():
                    raise
                terminal.tell("interrupted before an answer; the turn is left out")
            except (EdificeError, ValueError) as error:
                terminal.tell(f"error: {as_typed(message_of(error), arguments)}")
                if not terminal.asks():
                    return 2
    return 0


def _read(ended: Callable[[], bool]) -> str | None:
    """The next line; None at the end. Ctrl-C drops a line that is being typed."""
    while True:
        try:
            return terminal.ask("> ")
        except EOFError:
            return None
        except UnicodeError as error:
            raise ValueError("a line is no UTF-8 text; convert it") from error
        except KeyboardInterrupt:
            if ended() or not terminal.asks():
                raise
            terminal.say("")


@contextmanager
def _told_to_end() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether a signal came that ends the program, unlike Ctrl-C."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def hear(number: int, frame: Any) -> None:
        received.append(number)
        before[number](number, frame)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and callable(handler := signal.getsignal(number)):
            with suppress(ValueError):  # in another thread than the first
                signal.signal(number, hear)
                before[number] = handler
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Conversation:
    """The messages so far, and the last turn's candidates.

    The prompt of a turn begins with that of the turn before, which the model does not read again
    where its engine keeps it.
    """

    def __init__(
        self, arguments: argparse.Namespace, lm: Any, chooser: Chooser, request: "Request"
    ) -> None:
        self.arguments, self.lm, self.chooser, self.request = arguments, lm, chooser, request
        self.pools: list[Any] = []
        self.reset()

    def reset(self) -> None:
        """Forget what was said."""
        system = self.arguments.system
        self.messages = [{"role": "system", "content": system}] if system else []
        self.asked: list[dict[str, str]] = []  # the messages up to the last question
        self.choice: Any = None

    def hear(self, line: str) -> bool:
        """Answer a question or obey a command; whether that was the last."""
        name, _, rest = line.partition(" ")
        if not name.startswith("/"):
            if line:
                self._answer(line)
            return False
        if name in ("/show", "/pick") and not self.asked:
            raise ValueError(f"{name}: there is no answer yet; ask something")
        if name == "/show":
            self._show_all()
        elif name == "/pick":
            self._pick(rest.strip())
        elif name == "/reset":
            self.reset()
        elif name == "/help":
            terminal.show(terminal.table(("", ""), list(COMMANDS.items())))
        elif name != "/quit":
            raise unknown_name("command", name, (one.split()[0] for one in COMMANDS))
        return name == "/quit"

    def _answer(self, question: str) -> None:
        messages = [*self.messages, {"role": "user", "content": question}]
        with Leader(self.request.n) as leader:
            how = {**vars(self.request), "problem": str(len(self.pools) + 1)}
            pool = et.generate(self.lm, messages, **how, on_token=leader, on_finish=leader.finished)
        if pool.interrupted:
            terminal.tell(f"interrupted; {len(pool)} candidates are finished")
        self.asked, self.choice = messages, None
        try:
            pool = self.chooser.score(self.lm, pool)
        finally:
            self.pools.append(pool)
            self._keep()
        self.choice = self.chooser.select(pool)  # where it chooses none, /pick can
        self._go_on_with(self.choice.candidate)
        plain = {"choice": self.choice.to_dict(), "pool": pool.to_dict()}
        terminal.show_result(self.arguments, plain, self.choice.text)

    def _go_on_with(self, answer: et.Candidate) -> None:
        self.messages = [*self.asked, {"role": "assistant", "content": answer.text}]
        self.pools[-1] = replace(self.pools[-1], picked=answer.index)
        self._keep()

    def _keep(self) -> None:
        """Write all turns to the file, if there is one."""
        if path := self.arguments.output:
            et.write_pools(path, self.pools, overwrite=True)

    def _show_all(self) -> None:
        pool, tokens = self.pools[-1], self.request.max_tokens
        terminal.show(self.chooser.show(pool, self.choice, tokens))

    def _pick(self, number: str) -> None:
        """Take another candidate of the last turn for its answer."""
        by_index = {str(one.index): one for one in self.pools[-1]}
        if number not in by_index:
            raise unknown_name("candidate", number, by_index, "; /show lists them")
        self._go_on_with(by_index[number])
        terminal.show(by_index[number].text)
