"""HTTP routes of webhooks. Administrators add the webhooks that jobs may name; users list the messages about jobs that they can see."""

from typing import Annotated, Literal

from fastapi import Body, Path, Query, Response
from sqlalchemy.orm import Session

from app.http.access import Admin, Caller, keyed_router
from app.http.context import Shared
from app.http.paging import Cursor, Limit, Page
from app.http.problems import documented
from app.ids import id_pattern
from app.moments import TimeAndId
from app.webhooks import repository, service
from app.webhooks.repository import DeliveryFilters
from app.webhooks.schemas import NAME, DeliveryOut, WebhookList, WebhookMade, WebhookRequest

router = keyed_router(prefix="/v1", tag="webhooks")

Name = Annotated[str, Path(pattern=NAME, examples=["lab-slack"])]
EXAMPLE = {"name": "lab-slack", "url": "https://hooks.slack.com/services/T0/B0/x"}


class DeliveryPage(Page[DeliveryOut]):
    """Deliveries, newest first."""


@router.get("/webhooks", operation_id="listWebhooks", summary="List webhooks", responses=documented())
async def list_webhooks(viewer: Caller, context: Shared) -> WebhookList:
    """Returns the webhooks, by name. To be notified about a job, name one in the job's field `webhook`."""

    def listing(session: Session) -> WebhookList:
        return WebhookList(items=[service.view(target, viewer) for target in repository.listing(session)])

    return await context.database.read(listing)


@router.post(
    "/webhooks",
    operation_id="addWebhook",
    summary="Add a webhook",
    status_code=201,
    responses=documented(400, 403, 409, 413, 415, 422),
)
async def add_webhook(body: Annotated[WebhookRequest, Body(examples=[EXAMPLE])], viewer: Admin, context: Shared) -> WebhookMade:
    """Adds a webhook; only this answer contains the secret that signs its messages. Administrators only."""
    return await context.database.run(service.add, body, viewer, context.settings.key_pepper.get_secret_value())


@router.delete(
    "/webhooks/{name}",
    operation_id="deleteWebhook",
    summary="Delete a webhook",
    status_code=204,
    response_class=Response,
    responses=documented(403, 404, 422),
)
async def delete_webhook(name: Name, viewer: Admin, context: Shared) -> None:
    """Deletes the webhook and the list of its messages. Administrators only."""
    await context.database.run(service.delete, name, viewer)


@router.post(
    "/webhooks/{name}/test",
    operation_id="testWebhook",
    summary="Send a test message",
    status_code=202,
    responses=documented(403, 404, 422),
)
async def test_webhook(name: Name, viewer: Admin, context: Shared) -> DeliveryOut:
    """Sends a test message; the list of messages shows whether it arrived. Administrators only."""
    return await context.database.run(service.test, name, viewer)


@router.get(
    "/deliveries",
    operation_id="listDeliveries",
    summary="List messages and their delivery",
    response_model=DeliveryPage,
    responses=documented(422),
)
async def list_deliveries(
    viewer: Caller,
    context: Shared,
    limit: Limit = 50,
    cursor: Cursor = None,
    webhook: Annotated[str | None, Query(pattern=NAME)] = None,
    job: Annotated[str | None, Query(pattern=id_pattern("job"))] = None,
    state: Literal["pending", "delivered", "failed"] | None = None,
) -> DeliveryPage:
    """Returns the messages about jobs that you can see, newest first. They are kept for 30 days."""
    filters = DeliveryFilters(webhook, job, state)

    def page(session: Session, before: TimeAndId | None, count: int) -> list[DeliveryOut]:
        rows = repository.deliveries(session, viewer, filters, limit=count, before=before)
        return [service.delivery_view(row) for row in rows]

    return await DeliveryPage.newest(
        context, page, scope=f"deliveries {filters}", limit=limit, cursor=cursor, key=lambda entry: (entry.created_at, entry.id)
    )
