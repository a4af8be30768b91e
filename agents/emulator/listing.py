"""GET /v1/models, GET /v1/models/{id}, GET / and everything that is no route."""

from __future__ import annotations

from typing import Any

from prong.agents.emulator import checks, compaction
from prong.agents.emulator.endpoint import Exchange
from prong.agents.emulator.errors import ApiError, bad_request
from prong.agents.models import Model, all_models

DEFAULT_PAGE = 20
LARGEST_PAGE = 1000


async def list_models(exchange: Exchange) -> None:
    """Answer with one page of the models."""
    exchange.authenticate()
    query = exchange.connection.query
    models = _between(query.get("after_id"), query.get("before_id"))
    limit = _limit(query.get("limit"))
    # A page that is asked for by its end holds the last ones before it.
    page = models[-limit:] if "before_id" in query else models[:limit]
    exchange.mark_first_byte()
    answer = {
        "data": [_info(model) for model in page],
        "has_more": len(models) > len(page),
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }
    await exchange.connection.answer(200, answer, exchange.headers)


async def show_model(exchange: Exchange) -> None:
    """Answer with one model."""
    exchange.authenticate()
    name = exchange.connection.path_params["id"]
    model = checks.model_of({"model": name}, exchange.emulator.options.window_tokens)
    exchange.mark_first_byte()
    await exchange.connection.answer(200, _info(model), exchange.headers)


async def show_root(exchange: Exchange) -> None:
    """Answer whoever looks whether anybody is there."""
    exchange.mark_first_byte()
    about = {"name": "prong emulator", "messages": "/v1/messages", "journal": "/emulator/journal"}
    await exchange.connection.answer(200, about, exchange.headers)


async def refuse_route(exchange: Exchange) -> None:
    """Answer for every path that the API does not have."""
    raise ApiError(404, f"Not found: {exchange.connection.method} {exchange.connection.path}")


def _between(after: str | None, before: str | None) -> list[Model]:
    models = list(all_models())
    ids = [model.id for model in models]
    for bound in (after, before):
        if bound is not None and bound not in ids:
            message = f"models: no model {bound!r} to start from"
            raise bad_request(message)
    start = ids.index(after) + 1 if after else 0
    end = ids.index(before) if before else len(ids)
    return models[start:end]


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE
    if not text.isdigit() or not 1 <= int(text) <= LARGEST_PAGE:
        message = f"limit: Input should be between 1 and {LARGEST_PAGE}"
        raise bad_request(message)
    return int(text)


def _info(model: Model) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.id.replace("-", " ").title(),
        # The API's own mark for a date that is not known.
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "line": model.line,
        "capabilities": {"compaction": {"supported": compaction.plays(model), "summarize": {"supported": True}}},
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.max_output_tokens,
    }
