"""GET /metrics, for a scraper that has METRICS_TOKEN."""

import hmac

from fastapi import APIRouter, Request, Response

from backend.auth.tokens import bearer_token
from backend.errors import InvalidToken
from backend.telemetry.metrics import Metrics

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """All numbers of the service, in Prometheus' text format or OpenMetrics."""
    numbers: Metrics = request.app.state.metrics
    token = bearer_token(request.headers.get("authorization"))
    if not hmac.compare_digest(token.encode(), numbers.token.encode()):
        raise InvalidToken(reason="not METRICS_TOKEN")
    content, media_type = numbers.render(request.headers.get("accept", ""))
    return Response(content, headers={"content-type": media_type})
