"""Every setting of the service, read once from the environment (prefix `BINNACLE_`, plus three URLs without the prefix) and then from
`binnacle.toml` (`app.settings_file`) for variables that are not set.

Durations are seconds, sizes are bytes. Tests shorten the durations; the defaults are defined only here.
"""

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app import settings_file
from app.dsn import database_url
from app.refusals import sentence
from binnacle.errors import BinnacleError

BROKERS = ("redis://", "rediss://", "redis+socket://")
"""How an address of a broker begins."""
BROKER_FORM = "redis://:PASSWORD@HOST:6379/0"


class LeaseSettings(BaseSettings):
    """How long a lease lasts without renewal, and how often processes check."""

    model_config = SettingsConfigDict(env_prefix="BINNACLE_LEASE_")

    ttl: float = Field(60, gt=0, description="a lease that is not renewed for this long is lost")
    margin: float = Field(
        10, gt=0, description="a worker that cannot renew its lease stops its job this long before the lease ends"
    )
    watch: float = Field(5, gt=0, description="how often a worker's parent checks the state of the job that its child runs")
    sweep: float = Field(15, gt=0, description="how often the reconciler looks for lost leases and forgotten jobs")
    look: float = Field(3, gt=0, description="how often an idle worker checks the queue when no bell has rung")
    idle: float = Field(60, gt=0, description="after this long without a job, a device proves models that have no passport yet")
    cancel_grace: float = Field(30, gt=0, description="time from a cancel request to SIGTERM, if the handler does not react")
    kill_grace: float = Field(5, gt=0, description="time from SIGTERM to SIGKILL")
    drain_grace: float = Field(10, gt=0, description="time from a node's SIGTERM to its child's, if the handler does not react")
    stall: float = Field(
        600, gt=0, description="a phase without progress for this long counts as hung, unless it sets its own limit"
    )
    slice: float = Field(300, gt=0, description="how long a job runs before it yields to a waiting job of another user")
    short_slice: float = Field(20, gt=0, description="how long a job runs before it yields to a waiting generation")
    at_risk: float = Field(
        2, ge=0, description="finished parts of a job are committed at least this often, so at most this much work is at risk"
    )
    max_losses: int = Field(
        3, ge=1, description="a job fails as poison after this many losses in a row without a newly finished part"
    )

    @field_validator("margin")
    @classmethod
    def _a_worker_must_stop_before_others_start(cls, margin: float, others: ValidationInfo) -> float:
        if margin >= others.data.get("ttl", math.inf) * 2 / 3:
            raise ValueError(
                "It must be less than two thirds of BINNACLE_LEASE_TTL: renewals come every third of that, and one may fail."
            )
        return margin


class RetentionSettings(BaseSettings):
    """How long history is kept. docs/operating.md lists the size of each row."""

    model_config = SettingsConfigDict(env_prefix="BINNACLE_RETENTION_")

    events_days: float = Field(0, ge=0, description="days after a job ended until its events are removed; 0 keeps them")
    audit_days: float = Field(0, ge=0, description="days until an entry of the audit log is removed; 0 keeps them")
    jobs_days: float = Field(0, ge=0, description="days after a job ended until it is deleted with its results; 0 keeps them")


class LimitSettings(BaseSettings):
    """Limits of one request; a number or size of 0 allows none."""

    model_config = SettingsConfigDict(env_prefix="BINNACLE_LIMIT_")

    body_bytes: int = Field(5_000_000, ge=1, description="size of one JSON body")
    json_values: int = Field(50_000, ge=1, description="values in one JSON body, counted through its lists and objects")
    upload_bytes: int = Field(64_000_000, ge=0, description="size of a multipart body: files of vectors, trait datasets")
    trait_prompts: int = Field(4_000, ge=0, description="prompts and questions in one trait dataset")
    trait_bytes: int = Field(5_000_000, ge=0, description="size of one trait dataset, as stored")
    vectors: int = Field(2_000, ge=0, description="vectors in one import")
    extracted_vectors: int = Field(20_000, ge=0, description="vectors of one extraction, including controls and refits")
    rows_bytes: int = Field(
        512 << 20, ge=0, description="size of the captured rows that an extraction keeps for reuse; larger ones are not kept"
    )
    answers: int = Field(200_000, ge=0, description="answers of one steering")
    study_jobs: int = Field(500, ge=0, description="jobs of a study, including its calibrations and its report")
    turn_seconds: float = Field(
        10, gt=0, description="how long a request waits for other requests of the same user before it is refused with 429"
    )
    uploads: int = Field(4, ge=1, description="simultaneous uploads of one user")
    uploads_bytes: int = Field(128_000_000, ge=0, description="total size of one user's simultaneous uploads")
    prompts: int = Field(2_000, ge=0, description="prompts of one request")
    prompt_characters: int = Field(20_000, ge=1, description="characters of one prompt")
    new_tokens: int = Field(1_024, ge=1, description="new tokens of one answer")
    tokens: int = Field(500_000, ge=0, description="generated tokens of one job")
    wait_seconds: float = Field(60, ge=0, description="largest value of ?wait=")
    stream_seconds: float = Field(600, gt=0, description="an event stream is closed after this long; the client reconnects")
    silent_seconds: float = Field(
        60, gt=0, description="a connection is closed after this long without progress of its request or its response"
    )
    job_seconds: float = Field(6 * 3600, gt=0, description="an attempt of a job that runs longer than this is stopped")


class DatabaseSettings(BaseSettings):
    """How many connections to the database each process may open (docs/operating.md: Database connections)."""

    model_config = SettingsConfigDict(env_prefix="BINNACLE_DATABASE_")

    api_connections: int = Field(
        20, ge=2, description="connections of one API process; it opens one more to listen for notifications"
    )
    worker_connections: int = Field(4, ge=3, description="connections of a node's child process, which runs jobs")
    parent_connections: int = Field(4, ge=3, description="connections of a node's parent process, which watches the child")


class WebhookSettings(BaseSettings):
    """Webhooks: telling other services that jobs have ended. Sends only to targets that an administrator allowed and that a job names."""

    model_config = SettingsConfigDict(env_prefix="BINNACLE_WEBHOOK_")

    poll: float = Field(2, gt=0, description="how often the outbox is checked for messages to send")
    timeout: float = Field(10, gt=0, description="an attempt fails after this long")
    attempts: int = Field(8, ge=1, description="a message is dropped after this many attempts")
    backoff: float = Field(
        10, gt=0, description="delay before the second attempt; each further delay is six times as long, at most 12 hours"
    )


class Settings(BaseSettings):
    """The service's own settings."""

    model_config = SettingsConfigDict(
        env_prefix="BINNACLE_", env_nested_delimiter="__", populate_by_name=True, hide_input_in_errors=True
    )

    database_url: SecretStr = Field(
        SecretStr("postgresql+psycopg://localhost/binnacle"), validation_alias=AliasChoices("DATABASE_URL", "database_url")
    )
    broker_url: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"), validation_alias=AliasChoices("BROKER_URL", "broker_url")
    )
    storage_url: SecretStr = Field(
        SecretStr("file:///var/lib/binnacle/objects"), validation_alias=AliasChoices("STORAGE_URL", "storage_url")
    )
    broker_prefix: str = Field("binnacle:", description="prefix of every key in the broker, so that services can share one")

    home: Path = Field(
        Path("~/.binnacle"), description="data folder of the embedded service, where the client also finds its key"
    )
    key_pepper: SecretStr = Field(SecretStr(""), description="secret of the HMAC under which keys are stored")
    cursor_secret: SecretStr = Field(SecretStr(""), description="secret that signs list cursors; empty: the pepper is used")
    auth: Literal["on", "off"] = Field(
        "on", description="off: no keys; only on a unix socket, or on loopback with a secret (docs/access.md)"
    )
    local_secret: SecretStr = Field(
        SecretStr(""), description="the secret of a service without keys, at least 32 characters; empty: a new one at each start"
    )
    public_url: str = Field("", description="address at which people reach this service (https://...), for links in messages")
    metrics_port: int = Field(0, ge=0, le=65535, description="internal port of the Prometheus metrics; 0: none")

    device: str = Field("cpu", description="the torch device of this worker: cpu or cuda:0")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: float32 on CPU, bfloat16 on CUDA")
    threads: int = Field(0, ge=0, description="torch threads of a CPU worker; 0: one per core. Stored with each result")
    model_budget_bytes: int = Field(8 << 30, ge=0, description="memory for models that stay loaded between jobs")
    batch_budget_bytes: int = Field(
        2 << 30,
        ge=0,
        description="memory of a job besides the weights, on a CPU or a GPU: batches, and prompts that a judge keeps",
    )
    record_steps: bool = Field(
        True, description="on CUDA, generation replays its steps as CUDA graphs: 2 to 4 times as fast (tests/benchmarks)"
    )
    model_idle_minutes: float = Field(30, gt=0, description="an unused model is unloaded after this many minutes")

    retention_days: float = Field(0, ge=0, description="days after a job ended until its results are removed; 0 keeps them")
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    min_free_bytes: int = Field(1 << 30, ge=0, description="with less free disk than this, workers take no new jobs; 0: no check")
    hub_token: SecretStr = Field(SecretStr(""), description="token with which light workers download models from the hub")
    hub_token_file: Path | None = Field(None, description="file that contains the hub token, instead of the token itself")
    hub_cache: Path | None = Field(None, description="folder for models from the hub; empty: the hub client's own folder")

    lease: LeaseSettings = Field(default_factory=LeaseSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    limit: LimitSettings = Field(default_factory=LimitSettings)
    webhook: WebhookSettings = Field(default_factory=WebhookSettings)

    @field_validator("database_url")
    @classmethod
    def _with_driver(cls, given: SecretStr) -> SecretStr:
        return SecretStr(database_url(given.get_secret_value()))

    @field_validator("broker_url")
    @classmethod
    def _of_redis(cls, given: SecretStr) -> SecretStr:
        text = given.get_secret_value()
        if not text.startswith(BROKERS):
            raise ValueError(f"It must begin with {', '.join(BROKERS[:-1])} or {BROKERS[-1]}: Binnacle needs Redis or Valkey.")
        if not _readable(text):
            raise ValueError(
                f"Write it as {BROKER_FORM}, and special characters of the password as %40 for @, %2F for /, %23 for #."
            )
        return given

    @property
    def weights_dtype(self) -> str:
        """Returns the dtype in which a worker with these settings loads models."""
        if self.dtype != "auto":
            return self.dtype
        return "bfloat16" if self.device.startswith("cuda") else "float32"


def _readable(broker_url: str) -> bool:
    """Returns whether an address of a broker has a host, a port and a number of a database where they are expected."""
    try:
        parts = urlsplit(broker_url)
        if parts.port == 0 or "@" in parts.path + parts.query + parts.fragment:
            return False
    except ValueError:  # an unmatched bracket, or a port that is not a number, perhaps as it is a piece of the password
        return False
    return parts.scheme == "redis+socket" or re.fullmatch(r"/?|/[0-9]+", parts.path) is not None


@lru_cache
def get_settings() -> Settings:
    """Returns the settings of this process, read once from its environment. Raises the errors of `read_settings`."""
    return read_settings()


def read_settings() -> Settings:
    """Reads the settings from the environment and `binnacle.toml`.

    Raises BinnacleError `settings_invalid`, which names each invalid variable but never shows a value, because values may be secrets.
    """
    settings_file.apply(Settings)
    try:
        return Settings()
    except ValidationError as error:
        raise BinnacleError("settings_invalid", " ".join(_faults(error))) from None


def _faults(error: ValidationError) -> Iterator[str]:
    kinds = [Settings, *(field.annotation for field in Settings.model_fields.values())]
    groups = {kind.__name__: kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseSettings)}
    prefix = str(groups[error.title].model_config["env_prefix"])
    for fault in error.errors(include_url=False, include_input=False):
        place = "__".join(str(part) for part in fault["loc"])
        variable = place if place.isupper() else prefix + place.upper()
        ours = fault.get("ctx", {}).get("error")  # of a validator above, which says what must be without the value
        yield f"{variable} is not valid. {ours or sentence(fault)}"
