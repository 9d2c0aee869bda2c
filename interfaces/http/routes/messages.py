"""What a question must be, and what asking may be answered with, in any protocol."""

from sluice.interfaces.http.models import Question
from sluice.interfaces.http.problems import problems, too_large, wrong
from sluice.interfaces.http.services import Options

SUBMITTED = problems(400, 401, 403, 404, 409, 413, 415, 422, 429, 503)


def check_question(question: Question, options: Options) -> None:
    if len(question.message.encode()) > options.max_message_bytes:
        raise too_large()
    offered = options.models
    if question.model is not None and offered is not None and question.model not in offered:
        raise wrong("model", "is not offered here")
