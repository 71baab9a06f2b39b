"""The table of judges. A secret is never stored: `key_env` names the variable of the workers' environment that holds it."""

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, String, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from terms.judging import JudgeOptions


class Judge(Base):
    """One judge beside the built-in `reference`: an OpenAI-compatible endpoint, or a registered model."""

    __tablename__ = "judges"
    __table_args__ = (CheckConstraint("kind IN ('openai','local')", name="kind"),)

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    model: Mapped[str] = mapped_column(String(200), doc="the endpoint's name of the model, or a registered model")
    url: Mapped[str | None] = mapped_column(Text)
    key_env: Mapped[str | None] = mapped_column(String(100))
    options: Mapped[JudgeOptions] = mapped_column(JSONB, server_default=text("'{}'"))
    created_by: Mapped[str] = mapped_column(String(100))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
