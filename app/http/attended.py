"""Cancels the work for a request, with its statement and transaction, when the client disconnects.

Pure ASGI. Otherwise the work of every request would run to its end after its client had given up.
"""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Send

Work = Callable[[Receive, Send], Awaitable[None]]


class Gone(Exception):
    """The client disconnected and the work was cancelled; an answer cannot reach the client."""


async def attended(work: Work, receive: Receive, send: Send, *, has_body: bool) -> None:
    """Runs `work(receive, send)`; cancels it when the client disconnects before the answer is complete, and then raises Gone.

    Only one reader at a time receives messages from the server: `work` until the body is complete, then a watcher, which passes a disconnect
    on to `work`.
    """
    whole, gone = asyncio.Event(), asyncio.Event()
    answered = False
    first = None if has_body else await receive()  # the empty body is complete: the only message that can follow is a disconnect

    async def heard() -> Message:
        nonlocal first
        if first is not None:
            message, first = first, None
            return message
        if whole.is_set():
            await gone.wait()
            return {"type": "http.disconnect"}
        message = await receive()
        if message["type"] == "http.disconnect":
            gone.set()
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            whole.set()
        return message

    async def watch() -> None:
        await whole.wait()
        while not gone.is_set():
            if (await receive())["type"] == "http.disconnect":
                gone.set()

    async def told(message: Message) -> None:
        nonlocal answered
        await send(message)
        answered = message["type"] == "http.response.body" and not message.get("more_body")

    if not has_body:
        whole.set()
        if first is not None and first["type"] == "http.disconnect":
            raise Gone
    task, watcher = asyncio.ensure_future(work(heard, told)), asyncio.create_task(watch())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if gone.is_set() and not answered:
            task.cancel()
            await asyncio.wait({task})
            if task.cancelled() or isinstance(task.exception(), ClientDisconnect):
                raise Gone
        await task
    finally:
        watcher.cancel()
        if not task.done():  # this task itself was cancelled: the server stops
            task.cancel()
            await asyncio.wait({task})
