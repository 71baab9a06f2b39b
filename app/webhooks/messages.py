"""Builds the body of a webhook's message, which Slack and similar services show (`text`) and programs read (`event`, `job`), and its signature.
Pure."""

import base64
import hmac
import json
from collections.abc import Mapping
from typing import Any

from binnacle.words.visible import visible

SIGNATURE = "Binnacle-Signature"
NOTHING = "\u200b"
"""A space without width, which keeps chat services from reading the text around it as one mark."""
DELIVERY = "Binnacle-Delivery"


def secret_of(pepper: str, salt: str) -> str:
    """Returns the secret that the receiver of a target shares with this service; only the salt is stored."""
    digest = hmac.digest(pepper.encode(), f"webhook {salt}".encode(), "sha256")
    return "whsec_" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """Returns the header's value: `t=TIME,v1=HEX`, the HMAC-SHA256 of `TIME.BODY`. Receivers refuse old times, so that no message can be
    replayed.
    """
    return f"t={timestamp},v1={hmac.new(secret.encode(), f'{timestamp}.'.encode() + body, 'sha256').hexdigest()}"


def render(stored: Mapping[str, Any], delivery: str, public_url: str) -> bytes:
    """Returns the body of one delivery.

    stored: the row of the outbox, with `event` and the facts of `job`; without `job` for a test. delivery: its id. public_url: the address at
    which people reach this service; if it is empty, the text has no link.
    """
    job = stored.get("job")
    text = _sentence(job, public_url) if job else "A test from Binnacle: this webhook receives its messages."
    return json.dumps({"text": text, "delivery": delivery, **stored}, ensure_ascii=False).encode()


def _sentence(job: Mapping[str, Any], public_url: str) -> str:
    where = f"{public_url.rstrip('/')}{job['href']}" if public_url else ""
    name = f" “{job['name']}”" if job["name"] else ""
    what = f"{job['kind']}{name}" + (f" on {job['model']}" if job["model"] else "")
    error = job["error"] or {}
    why = f" {error['code']}: {error['detail']}" if error else ""
    link = f"<{where}|{job['id']}>" if where else job["id"]
    return f"{_plain(what)} of {_plain(job['owner'])} {job['state']}.{_plain(why)} {link}"


def _plain(text: str) -> str:
    """Returns the text as one line that chat services show as plain text, even if it holds a command (<!channel>, @all) or a link."""
    shown = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return shown.replace("@", f"@{NOTHING}").replace("](", f"]{NOTHING}(")
