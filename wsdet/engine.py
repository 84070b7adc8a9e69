"""Many localizers' generators in, full batches out: the only place where localizing meets a device.

A localizer asks, waits for the answer and asks on, so within one image only a few forward passes are ever ready at
once, far too few for a full batch. Different images do not wait for one another. So the engine runs the generators of
`in_flight` images side by side, collects the network inputs that their open questions need, and sends the oldest
`batch_size` of them through the network together. As soon as all questions of an image are answered, its generator
goes on and asks the next ones. Methods are written as if they had the network to themselves, and still fill batches.

An input that an image asks for twice, in one question or in several, is computed once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from wsdet import check
from wsdet.questions import Localizer, NetworkInput, Note, Question
from wsdet.types import Boxes, InputError, Sample

_MAX_PIXELS = 160_000_000  # of the images alive at once: two of the largest that are read


class Answerer(Protocol):
    """What the engine needs of a network (`wsdet.networks.classifier.Network`)."""

    def prepare(self, sample: Sample) -> Any:
        """The image on the device, in whatever form `answer` wants."""

    def answer(self, inputs: Sequence[NetworkInput]) -> list[Any]:
        """One row of answer per input; all inputs have the same batch key."""

    def assemble(self, question: Question, rows: Sequence[Any]) -> Any:
        """The answer to a question from its rows."""


def localize_all(
    samples: Iterable[tuple[str, Sample | InputError]],
    localizer: Localizer,
    network: Answerer,
    batch_size: int = 32,
    in_flight: int = 16,
    look_on: Callable[[str, Note], None] | None = None,
) -> Iterator[tuple[str, Boxes | InputError]]:
    """Runs a localizer over images; yields (image id, boxes or what was wrong with the image) in their order.

    Memory is bounded by `batch_size` inputs and `in_flight` images of no more than 160 million pixels together but for
    the last, whatever the number of images.

    Args:
        samples: (image id, image or what was wrong with it), read lazily.
        localizer: its generators are run side by side.
        network: answers their questions.
        batch_size: maximum number of inputs in one forward pass.
        in_flight: maximum number of images whose generators are alive at once.
        look_on: called with the image id and each note that its generator yields.

    Raises:
        InputError: `batch_size` or `in_flight` is below 1.
    """
    check.at_least(1, batch_size=batch_size, in_flight=in_flight)
    source = iter(samples)
    window: deque[_Dialogue] = deque()  # in the order of `samples`; finished ones wait for those before them
    exhausted = False
    while True:
        alive = [dialogue for dialogue in window if dialogue.outcome is None]
        while len(alive) < in_flight and not exhausted and sum(one.n_pixels for one in alive) < _MAX_PIXELS:
            item = next(source, None)
            if item is None:
                exhausted = True
                break
            dialogue = _Dialogue(*item, localizer, network, look_on)
            window.append(dialogue)
            if dialogue.outcome is None:
                alive.append(dialogue)
        while window and window[0].outcome is not None:
            first = window.popleft()
            yield first.image_id, first.outcome  # type: ignore[misc]
        if not window and exhausted:
            return
        _answer_one_batch(alive, network, batch_size)


class _Dialogue:
    """One image's generator, its open questions and the rows computed for it so far."""

    def __init__(
        self,
        image_id: str,
        sample: Sample | InputError,
        localizer: Localizer,
        network: Answerer,
        look_on: Callable[[str, Note], None] | None,
    ) -> None:
        self.image_id = image_id
        self.outcome: Boxes | InputError | None = None
        self.n_pixels = 0 if isinstance(sample, InputError) else sample.size_hw[0] * sample.size_hw[1]
        self.missing: dict[bytes, NetworkInput] = {}  # inputs that the open questions still wait for, oldest first
        self._rows: dict[bytes, Any] = {}
        self._questions: Sequence[Question] = ()
        if isinstance(sample, InputError):
            self.outcome = sample
            return
        self._network = network
        self._look_on = look_on
        self._sample = sample
        self._view: Any = None  # prepared when the first input is asked for: constant boxes never ask
        self._generator: Generator[Sequence[Question], Sequence[Any], Boxes] = localizer.localize(sample)
        self._resume(None)

    def receive(self, key: bytes, row: Any) -> None:
        """Takes one computed row; goes on with the generator when it was the last one missing."""
        self._rows[key] = row
        del self.missing[key]
        if not self.missing:
            self._resume(self._answers())

    def _answers(self) -> list[Any]:
        return [
            None
            if isinstance(question, Note)
            else self._network.assemble(question, [self._rows[key] for key in question.keys()])  # noqa: SIM118  (not a dict)
            for question in self._questions
        ]

    def _resume(self, answers: list[Any] | None) -> None:
        while not self.missing:
            try:
                self._questions = self._generator.send(answers)  # type: ignore[arg-type]
            except StopIteration as stop:
                self._finish(stop.value)
                return
            except InputError as error:
                self._finish(error)
                return
            for question in self._questions:
                self._need(question)
            # questions whose rows are all there already, and notes, are answered without waiting for a batch
            answers = None if self.missing else self._answers()

    def _need(self, question: Question) -> None:
        if isinstance(question, Note) and self._look_on:
            self._look_on(self.image_id, question)
        for row, key in enumerate(question.keys()):
            if key not in self._rows:
                if self._view is None:
                    self._view = self._network.prepare(self._sample)
                self.missing.setdefault(key, NetworkInput(self._view, question, row))

    def _finish(self, outcome: Boxes | InputError) -> None:
        """Keeps the outcome alone: the view and rows of an image that waits for those before it are freed at once."""
        self.outcome = outcome
        self._rows, self._view, self._questions = {}, None, ()


def _answer_one_batch(dialogues: Sequence[_Dialogue], network: Answerer, batch_size: int) -> None:
    """Answers up to `batch_size` missing inputs of one batch key, oldest images first.

    The oldest waiting input decides the key: nothing waits forever, and the image at the head of the window, which
    holds back the results of all others, is served first.
    """
    waiting = ((dialogue, key, one) for dialogue in dialogues for key, one in dialogue.missing.items())
    oldest = next(waiting, None)
    if oldest is None:
        return
    batch_key = oldest[2].question.batch_key
    same = (entry for entry in waiting if entry[2].question.batch_key == batch_key)
    batch = [oldest, *islice(same, batch_size - 1)]
    rows = network.answer([one for _, _, one in batch])
    for (dialogue, key, _), row in zip(batch, rows, strict=True):
        dialogue.receive(key, row)
