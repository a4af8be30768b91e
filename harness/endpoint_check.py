"""Whether the models of a run can be asked at all, found out before anything is made for it.

    GET /v1/models/ID -> count_tokens -> an empty conversation        each only where the endpoint lacks the one before

None of them costs anything.  What passes by itself, such as an endpoint that is busy, is no reason not to begin.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from prong.agents.models import lookup
from prong.state import ProngError

if TYPE_CHECKING:
    import anthropic

TIMEOUT_S = 15.0
"""How long an endpoint may take to answer one of the questions."""

ROUTE_MISSING = frozenset({404, 405, 501})
LONGEST_QUOTED = 200


class EndpointUnfit(ProngError):
    """A model cannot be asked at this endpoint, or not with this key; `next` says what to do about it."""

    def __init__(self, problem: str, next: str) -> None:
        self.problem = problem
        self.next = next

    def __str__(self) -> str:
        return f"{self.problem}. {self.next}. Nothing was started"


def is_here(base_url: str) -> bool:
    """Whether an endpoint is on this machine, so that no key leaves it."""
    host = urlsplit(base_url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def check(
    models: Iterable[str], *, base_url: str | None, api_key: str | None, known: Collection[str] = ()
) -> list[str]:
    """Ask the endpoint for each model; returns notes for whoever starts the run, or raises `EndpointUnfit`.

    `known` are models of which somebody said what they cost and hold.
    """
    import anthropic  # noqa: PLC0415  it costs a second, and most commands do without

    with anthropic.Anthropic(api_key=api_key, base_url=base_url, max_retries=0, timeout=TIMEOUT_S) as client:
        return [note for model in dict.fromkeys(models) for note in _notes(client, model, known)]


def _notes(client: anthropic.Anthropic, model: str, known: Collection[str]) -> Iterator[str]:
    info = _info(client, model)
    if lookup(model) is not None or model in known:
        return
    window = info.get("max_input_tokens")
    if window is None:
        yield (
            f"note: nothing is known of the window and the prices of {model}: its conversations are made short only"
            " when they are full, and no cost in dollars is shown. Say it in PRONG.md, under models"
        )
    else:
        yield (
            f"note: nothing is known of the prices of {model}, so no cost in dollars is shown (say them in PRONG.md,"
            f" under models); its window: {window:,}"
        )


def _info(client: anthropic.Anthropic, model: str) -> dict[str, Any]:
    """What the endpoint says of the model; empty where it says nothing.  Raises `EndpointUnfit`."""
    import anthropic  # noqa: PLC0415  as above

    host = str(client.base_url).rstrip("/")
    said: Any = []  # the SDK's types want it to hold something
    questions = (
        lambda: client.models.retrieve(model),
        lambda: client.messages.count_tokens(model=model, messages=[{"role": "user", "content": "?"}]),
        lambda: client.messages.create(model=model, max_tokens=1, messages=said),
    )
    for ask in questions:
        try:
            answer: object = ask()
            if isinstance(answer, anthropic.BaseModel):
                return answer.to_dict()
        except anthropic.APIConnectionError as error:
            raise _unreachable(host, error) from error
        except anthropic.APIStatusError as error:
            if error.status_code in ROUTE_MISSING and not _names_model(error, model):
                continue
            if (unfit := _refused(host, model, error)) is not None:
                raise unfit from error
            return {}
        except (anthropic.APIError, ValueError):  # it answers with something else than JSON
            continue
    raise EndpointUnfit(
        f"nothing at {host} speaks the Messages API",
        "Look whether --base-url is right: it is the address without /v1/messages",
    )


def _names_model(error: anthropic.APIStatusError, model: str) -> bool:
    """Whether a 404 is about the model and not about the route."""
    said = error.api_message or ""
    return error.type == "not_found_error" and model in said and "/v1/" not in said


def _refused(host: str, model: str, error: anthropic.APIStatusError) -> EndpointUnfit | None:
    """What a refusal means for the run; None where it can begin all the same."""
    said = " ".join(str(error.api_message or error).split())[:LONGEST_QUOTED]
    if error.status_code == 402 or "credit balance" in said:  # noqa: PLR2004  HTTP's name for it is the number
        return EndpointUnfit(f"{host} says that the key has no credit left ({said})", "Buy some, or use another key")
    if error.status_code in (401, 403):
        what = "does not take the key" if error.status_code == 401 else f"does not let this key use {model}"  # noqa: PLR2004  as above
        return EndpointUnfit(f"{host} {what} (HTTP {error.status_code}: {said})", "Look at ANTHROPIC_API_KEY")
    if error.status_code in ROUTE_MISSING:
        return EndpointUnfit(
            f"{host} has no model {model!r} (HTTP 404: {said})", f"Name another with --model{_those_of(host)}"
        )
    return None


def _those_of(host: str) -> str:
    return f"; GET {host}/v1/models lists those that there are"


def _unreachable(host: str, error: BaseException) -> EndpointUnfit:
    """In one sentence why nothing answered, by the deepest cause that is known."""
    causes = list(_causes(error))
    deepest = str(causes[-1]) or type(causes[-1]).__name__
    refused = (
        any(isinstance(cause, ConnectionRefusedError) for cause in causes) or f"[Errno {errno.ECONNREFUSED}]" in deepest
    )
    if any(isinstance(cause, ssl.SSLError) for cause in causes) or "CERTIFICATE_VERIFY" in deepest or "SSL" in deepest:
        return EndpointUnfit(
            f"no safe connection to {host}: {deepest}",
            "Look whether it speaks https, and whether its certificate is good",
        )
    if any(isinstance(cause, socket.gaierror) for cause in causes) or "[Errno -" in deepest:
        return EndpointUnfit(f"there is no host {host} ({deepest})", "Look at --base-url, and whether you are online")
    if refused:
        return EndpointUnfit(
            f"nothing listens at {host} (connection refused)", "Start the server, or look at --base-url"
        )
    if "timed out" in str(error).lower() or any("timeout" in type(cause).__name__.lower() for cause in causes):
        return EndpointUnfit(
            f"{host} did not answer within {TIMEOUT_S:g} s", "Look at --base-url, and whether you are online"
        )
    return EndpointUnfit(f"no connection to {host}: {deepest}", "Look at --base-url")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
