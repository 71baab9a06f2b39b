"""Client methods for the service itself: models and workers, quotas and usage, webhooks and retention."""

from collections.abc import Callable, Iterator
from typing import Any

from binnacle.board import Me, Model, Status, Worker
from binnacle.parts.calls import Body
from binnacle.parts.jobs import Jobs
from binnacle.results import Job
from binnacle.served import id_of, quoted


class Service(Jobs):
    """The part of the client for the service itself. Methods marked "Administrators only" need an administrator's key."""

    def status(self) -> Status:
        """Returns the workers, devices, queue and loaded models.

        >>> client.status()["auth"]
        'on'
        """
        return self._get(Status, "/v1/status")

    def me(self) -> Me:
        """Returns the user of your key: owner, role, groups, and what the key may do.

        >>> client.me()["role"]
        'admin'
        """
        return self._get(Me, "/v1/me")

    def sign_in_address(self, job: str | Job | None = None) -> str:
        """Returns an address that signs a browser in as you, once and within 60 seconds, and opens a job's page or all jobs.

        >>> "/sign-in#ticket=" in client.sign_in_address()
        True
        """
        reply = self._connection.request("POST", "/v1/tickets", repeatable=False).json()
        path, _, ticket = str(reply["path"]).partition("#")
        return f"{self._connection.address.url}{path}{f'?next=/jobs/{id_of(job)}' if job else ''}#{ticket}"

    def models(self) -> list[Model]:
        """Returns the models that jobs may name.

        >>> "demo-severe" in [model["name"] for model in client.models()]
        True
        """
        return list(self._pages(Model, "/v1/models", {}, None))

    def model(self, name: str) -> Model:
        """Returns a model: its state, its facts, and its fault if its inspection found one.

        >>> client.model("demo-severe")["facts"]["hidden_size"]
        160
        """
        return self._get(Model, f"/v1/models/{quoted(name)}")

    def await_model(self, name: str, timeout: float | None = 600, *, on_change: Callable[[Job], None] | None = None) -> Model:
        """Waits until a model is inspected and proved: `ready`, or `faulty` with the fault. on_change: as in `wait`, for these jobs.

        >>> client.await_model("demo-severe")["state"]
        'ready'
        """
        model = self.model(name)
        job = model.get("prove_job") or model["inspect_job"]
        if model["state"] in ("inspecting", "proving") and job:
            self.wait(job, timeout, check=False, on_change=on_change)
            model = self.model(name)
        return model

    def add_model(self, name: str, source: str, *, revision: str | None = None) -> Job:
        """Registers a folder on the workers, or a hub id with its pinned revision; returns the job that inspects it. Administrators only.

        >>> client.add_model("again", client.model("demo-severe")["source"])["kind"]
        'inspect'
        """
        body = {"name": name, "source": source, **({"revision": revision} if revision else {})}
        return self._send(Job, "POST", "/v1/models", body, repeatable=False)

    def devices(self) -> list[Worker]:
        """Returns the worker nodes, who holds them and why they claim no jobs.

        >>> "model" in [worker["job_class"] for worker in client.devices()]
        True
        """
        return list(self._get(Body, "/v1/devices")["items"])

    def hold_device(self, device: str, mode: str = "pause", *, reason: str | None = None, minutes: float | None = None) -> Worker:
        """Takes a device out of the queue: `pause` (its job finishes first) or `drain` (its job is requeued). Administrators only.

        >>> device = next(worker["id"] for worker in client.devices() if worker["job_class"] == "light")
        >>> client.hold_device(device, reason="an update", minutes=5)["hold"]["mode"]
        'paused'
        >>> client.resume_device(device)["hold"] is None
        True
        """
        body = {"reason": reason, "minutes": minutes}
        return self._send(Worker, "POST", f"/v1/devices/{quoted(device)}/{quoted(mode)}", body)

    def resume_device(self, device: str) -> Worker:
        """Returns a held device to the queue. Administrators only.

        >>> device = next(worker["id"] for worker in client.devices() if worker["job_class"] == "light")
        >>> client.resume_device(device)["hold"] is None
        True
        """
        return self._send(Worker, "POST", f"/v1/devices/{quoted(device)}/resume")

    def usage(self, user: str | None = None, days: int = 30) -> Body:
        """Returns use of storage and devices by user and day: your own, or everyone's for administrators.

        >>> client.usage(days=7)["items"][0]["device_seconds"] >= 0
        True
        """
        return self._get(Body, "/v1/usage", {"user": user, "days": days})

    def quotas(self) -> Body:
        """Returns the server-wide quota and those of single users. Administrators only.

        >>> client.quotas()["default"]["user"] is None
        True
        """
        return self._get(Body, "/v1/quotas")

    def quota(self, user: str) -> Body:
        """Returns a user's quota: your own, or any user's for administrators.

        >>> client.quota(client.me()["owner"])["limits"]["max_queued"] is None
        False
        """
        return self._get(Body, f"/v1/quotas/{quoted(user)}")

    def set_quota(self, user: str | None = None, **limits: int | str | None) -> Body:
        """Sets a user's quota (None: the server-wide quota) as a whole: max_queued, max_running, device_seconds_per_day, stored_bytes.

        Each is a number or "unlimited"; for a missing limit the server-wide quota applies. Administrators only.

        >>> client.set_quota(client.me()["owner"], max_queued=500)["limits"]["max_queued"]
        500
        """
        return self._send(Body, "PUT", _quota(user), limits)

    def remove_quota(self, user: str) -> None:
        """Removes a user's own quota, so that the server-wide quota applies. Administrators only.

        >>> limits = client.set_quota(client.me()["owner"], max_running=2)
        >>> client.remove_quota(client.me()["owner"])
        """
        self._connection.request("DELETE", _quota(user), repeatable=False)

    def webhooks(self) -> list[Body]:
        """Returns the webhooks that jobs may name in `webhook`.

        >>> isinstance(client.webhooks(), list)
        True
        """
        return list(self._get(Body, "/v1/webhooks")["items"])

    def add_webhook(self, name: str, url: str, *, private: bool = False) -> Body:
        """Adds a webhook; the answer's `secret` signs its messages and is shown only now. Administrators only.

        >>> client.add_webhook("chat", "https://1.1.1.1/hook")["name"]
        'chat'
        >>> client.remove_webhook("chat")
        """
        return self._send(Body, "POST", "/v1/webhooks", {"name": name, "url": url, "private": private}, repeatable=False)

    def remove_webhook(self, name: str) -> None:
        """Removes a webhook. Administrators only.

        >>> made = client.add_webhook("old", "https://1.1.1.1/hook")
        >>> client.remove_webhook("old")
        """
        self._connection.request("DELETE", f"/v1/webhooks/{quoted(name)}")

    def test_webhook(self, name: str) -> Body:
        """Sends a test message and returns its delivery. Administrators only.

        >>> client.test_webhook("a name that was never added")
        Traceback (most recent call last):
        binnacle.errors.ServiceError: ...
        """
        return self._send(Body, "POST", f"/v1/webhooks/{quoted(name)}/test", repeatable=False)

    def deliveries(self, *, limit: int | None = None, **filters: Any) -> Iterator[Body]:
        """Yields messages sent to webhooks, newest first; filters: webhook, job, state.

        >>> list(client.deliveries(state="failed", limit=5))
        []
        """
        yield from self._pages(Body, "/v1/deliveries", filters, limit)

    def old_results(self, older_than_days: float) -> Body:
        """Returns the results that retention would remove. Administrators only.

        >>> client.old_results(365)["jobs"]
        0
        """
        return self._get(Body, "/v1/retention", {"older_than_days": older_than_days})

    def remove_old_results(self, older_than_days: float) -> Body:
        """Removes the results that `old_results` lists. Administrators only.

        >>> client.remove_old_results(365)["removed"]
        True
        """
        body = {"older_than_days": older_than_days}
        return self._send(Body, "POST", "/v1/retention", body, timeout=300, repeatable=False)


def _quota(user: str | None) -> str:
    return "/v1/quotas" if user is None else f"/v1/quotas/{quoted(user)}"
