"""What a run has told before a pause is not told again, and nothing else is held back."""

from sluice.domain.events import Reasoning
from sluice.infrastructure.pipeline.retold import Retold


def thinks(note: Retold, *texts: str) -> tuple[list[str], Retold]:
    """What is told of thoughts, and what a run knows that goes on after that."""
    told = [note.new_of("n:1", Reasoning(text, "n")) for text in texts]
    return [one.content for one in told if isinstance(one, Reasoning)], Retold(note.noted())


def test_thoughts_that_have_changed_are_known_as_they_are_now() -> None:
    told, note = thinks(Retold({}), "First ", "one way.")
    assert told == ["First ", "one way."]
    told, note = thinks(note, "First ", "another way.")
    assert told == ["another way."]
    assert thinks(note, "First ", "another way.", " Done.")[0] == [" Done."]
