"""Whether a server refused a call because of one of its parameters, which is not vital.

Real servers say so in their own words, with 400 or 422; OpenRouter says 404.
"""

import re

import openai

from sluice.domain.errors import UpstreamError

STREAM_OPTIONS = "stream_options"
RESPONSE_FORMAT = "response_format"
TOOLS = "tools"

_NAMES = {
    STREAM_OPTIONS: re.compile("stream_options|include_usage"),
    RESPONSE_FORMAT: re.compile("response_format|json_?schema|json mode|structured|guided"),
    TOOLS: re.compile(""),  # asked for only where a format did not help: any refusal will do
}
_OTHERS = re.compile(
    "stream_options|include_usage|response_format|tool|messages|max_tokens|temperature|context"
    "|too long|too large|maximum|credit|balance|billing|not_found|not exist"
)
"""What else a server may complain of."""
_SOME_PARAMETER = re.compile(
    r"unknown|unrecogni[sz]ed|unexpected|unsupported|extra|additional|forbidden|unavailable"
    r"|requested parameter|not (?:\w+ )?(?:supported|permitted|allowed|valid)|n.t support"
)


def refuses(error: UpstreamError, parameter: str) -> bool:
    return refused_by(error.__cause__, parameter)


def refused_by(cause: BaseException | None, parameter: str) -> bool:
    if not isinstance(cause, openai.APIStatusError) or cause.status_code not in (400, 404, 422):
        return False
    said = str(cause.body or cause.message).lower()
    if _NAMES[parameter].search(said):
        return True
    if cause.param or _OTHERS.search(said):
        return False
    return cause.status_code == 400 or _SOME_PARAMETER.search(said) is not None
