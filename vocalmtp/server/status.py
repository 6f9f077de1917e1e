"""The routes that describe a server: models, voices, health and measurements."""

from typing import Any

from fastapi import APIRouter, Response

import vocalmtp
from vocalmtp.server.errors import APIError
from vocalmtp.server.service import MODEL_ALIASES, SpeechService


def status_router(service: SpeechService, root: bool) -> APIRouter:
    """Return the routes.

    Args:
        service: what they describe.
        root: whether / is among them.

    """
    router = APIRouter(tags=["status"])
    names = (service.model, *MODEL_ALIASES)

    @router.get("/v1/models")
    def models() -> dict[str, Any]:
        """List the model and its aliases."""
        return {"object": "list", "data": [_model(name) for name in names]}

    @router.get("/v1/models/{model}")
    def model(model: str) -> dict[str, Any]:
        """Describe a model."""
        service.check_model(model)
        return _model(model)

    @router.get("/v1/audio/models")
    def audio_models() -> dict[str, Any]:
        """List the models that speak."""
        return {"models": [{"id": name, "name": name} for name in names]}

    @router.get("/health")
    def health() -> dict[str, str]:
        """Tell that the server runs."""
        return {"status": "ok"}

    @router.get("/ready")
    def ready() -> dict[str, str]:
        """Tell whether the server is warmed up."""
        if not service.ready:
            raise APIError(
                503, "the model is warming up", "not_ready", headers={"Retry-After": "1"}
            )
        return {"status": "ready"}

    @router.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Measurements in Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    if root:

        @router.get("/")
        def describe() -> dict[str, Any]:
            """Name the server and its schema."""
            return {
                "name": "vocalmtp",
                "version": vocalmtp.__version__,
                "model": service.model,
                "openapi": "/openapi.json",
            }

    return router


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "vocalmtp"}
