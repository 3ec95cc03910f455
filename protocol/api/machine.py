"""The API actor: a request becomes questions to other actors, their answers become the reply.

Owns: nothing durable; open calls. A question whose actor restarts is asked again under the same
id: the actors know their questions, so that nothing is done twice and no connection is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from protocol import machine as contract
from protocol.api import reading
from protocol.api.commands import BY_NAME, Question, Values
from protocol.api.params import parse
from protocol.api.port import HungUp, Local, Reply, Request
from protocol.errors import Refusal
from protocol.machine import (
    DEFECT,
    DEFECT_TEXT,
    UNKNOWN_METHOD,
    Abandoned,
    Answer,
    Ask,
    Moment,
    Step,
)
from protocol.segment import Segment
from protocol.values import Value


class Call(Value, frozen=True, kw_only=True):
    """An open request. `answers` has a place for each question asked so far;
    `shares`: (question, who answered) -> the rows that one of several monitors has."""

    request: Request
    values: Values
    stage: int = 0
    asked: tuple[tuple[str, Ask], ...] = ()
    answers: tuple[Any, ...] = ()
    shares: dict[tuple[int, str], list[Any]] = {}


CALLS = Segment("~call", Call)  # by its number, which begins the ids of its questions
LIFE = Segment("~life", str, by=())  # names this life, so that no number is given twice
COUNT = Segment("~count", int, by=())


Heard = Answer
Report = Request | HungUp


class Machine(contract.Machine):
    """The door for users: every call asks the actors that know, and answers when all have."""

    name = "api"
    hears = Heard
    reports = Report
    keeps = ()

    def __init__(self, *, monitors: int = 1, **constants: Any) -> None:
        """network, node_id (hex), alias, host, port, folder: what replies show of them; `actors`:
        the names of all.
        `monitors`: so many answer a question that is about no single channel."""
        self.monitors = monitors
        self.constants = {f"~{name}": value for name, value in constants.items()}

    def resume(self, step: Step, name: str | None, at: Moment) -> None:
        if name is None:
            LIFE.put(step, at.entropy.hex()[:12])
            COUNT.put(step, 0)
            return
        for call in CALLS.below(step).values():
            for index, (actor, ask) in enumerate(call.asked):
                if call.answers[index] is None and name == actor.partition("-")[0]:
                    step.tell(actor, ask)

    def step(self, step: Step, sender: str, item: Heard | Report, at: Moment) -> None:
        match item:
            case Request():
                self._guarded(step, item, None, lambda: self._request(step, item))
            case Answer():
                number = _call_of(item.id)[0]
                call = CALLS.get(step, number)
                if call is not None:
                    answer = lambda: self._answer(step, sender, item)  # noqa: E731
                    self._guarded(step, call.request, number, answer)
            case HungUp():
                self._hung_up(step, item.connection)
            case _:
                assert_never(item)

    def _guarded(
        self, step: Step, request: Request, number: str | None, work: Callable[[], None]
    ) -> None:
        """A defect costs the request that has met it, and nobody else's."""
        try:
            with step.all_or_nothing():
                work()
        except Exception as defect:
            step.log(f"{request.method[:40]} met a defect: {type(defect).__name__}: {defect}")
            if number is not None:
                CALLS.drop(step, number)
            self._refuse(step, request, DEFECT, DEFECT_TEXT)

    def _request(self, step: Step, request: Request) -> None:
        command = BY_NAME.get(request.method)
        if command is None:
            text = f"Unknown command '{request.method[:40]}'"
            self._refuse(step, request, UNKNOWN_METHOD, text)
            return
        try:
            if request.filter is not None:
                reading.check_filter(request.filter)
            values = parse(command.params, request.params)
        except Refusal as refusal:
            self._refuse(step, request, refusal.code, str(refusal))
            return
        if command.local:
            step.do(Local(request=request, values=values))
            return
        values |= self.constants | {"~method": request.method}
        count = COUNT.need(step) + 1
        COUNT.put(step, count)
        self._go_on(step, f"{LIFE.need(step)}-{count}", Call(request=request, values=values))

    def _go_on(self, step: Step, number: str, call: Call) -> None:
        """The next stage of questions, or the reply."""
        command = BY_NAME[call.request.method]
        answers = [answer["result"] for answer in call.answers]
        try:
            questions: list[Question] = []
            while not questions and call.stage < len(command.stages):
                questions = command.stages[call.stage](call.values, answers)
                call = call.but(stage=call.stage + 1)
            if not questions:
                self._reply(step, number, call, command.shape(call.values, answers))
                return
        except Refusal as refusal:
            CALLS.drop(step, number)
            self._refuse(step, call.request, refusal.code, str(refusal))
            return
        self._ask(step, number, call, questions)

    def _hung_up(self, step: Step, connection: int) -> None:
        """Nobody waits for these any more: neither do we, nor those whom we have asked."""
        for key, call in CALLS.below(step).items():
            if call.request.connection != connection:
                continue
            CALLS.drop(step, *key)
            for (actor, ask), answer in zip(call.asked, call.answers, strict=True):
                if answer is None:
                    step.tell(actor, Abandoned(id=ask.id))

    def _ask(self, step: Step, number: str, call: Call, questions: list[Question]) -> None:
        asked, answers = list(call.asked), list(call.answers)
        for actor, method, params in questions:
            ask = Ask(id=f"{self.name}/{number}.{len(asked)}", method=method, params=params)
            asked.append((actor, ask))
            answers.append(None)
            step.tell(actor, ask)
        call = call.but(asked=tuple(asked), answers=tuple(answers))
        CALLS.put(step, call, number)

    def _answer(self, step: Step, sender: str, answer: Answer) -> None:
        number, index = _call_of(answer.id)
        call = CALLS.get(step, number)
        if call is None or call.answers[index] is not None:
            return  # answered twice, or by the second of two
        if answer.code is not None:
            CALLS.drop(step, number)
            self._refuse(step, call.request, answer.code, answer.text, answer.data)
            return
        call, result = self._gathered(call, index, sender, answer.result)
        answers = list(call.answers)
        answers[index] = result
        call = call.but(answers=tuple(answers))
        CALLS.put(step, call, number)
        if None not in answers:
            self._go_on(step, number, call)

    def _gathered(self, call: Call, index: int, sender: str, result: Any) -> tuple[Call, Any]:
        """Lists of several monitors become one, in their order; None while one is missing."""
        actor, ask = call.asked[index]
        if actor != "monitors" or self.monitors == 1 or "channel_id" in ask.params:
            return call, {"result": result}
        shares = call.shares | {(index, sender): result}
        said = sorted(key for key in shares if key[0] == index)
        rows = [row for key in said for row in shares[key]]
        return call.but(shares=shares), {"result": rows} if len(said) == self.monitors else None

    def _reply(self, step: Step, number: str, call: Call, result: Any) -> None:
        CALLS.drop(step, number)
        request = call.request
        if request.filter is not None:
            result = reading.filtered(result, request.filter)
        step.do(Reply(connection=request.connection, id=request.id, result=result))

    def _refuse(self, step: Step, request: Request, code: int, text: str, data: Any = None) -> None:
        connection, number = request.connection, request.id
        step.do(Reply(connection=connection, id=number, code=code, text=text, data=data))


def _call_of(question: str) -> tuple[str, int]:
    """The call that a question belongs to, and its place there: "api/<call>.<place>"."""
    call, _, place = question.partition("/")[2].rpartition(".")
    return call, int(place)
