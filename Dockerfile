# Two images from one file:
#   docker build --target api    -t binnacle-api .       the HTTP side, without torch
#   docker build --target worker -t binnacle-worker .    a worker; the same torch pin as everywhere, whose wheel brings CUDA
FROM python:3.11.13-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --create-home --home-dir /home/binnacle binnacle \
    && install -d -o binnacle -g binnacle -m 0700 /var/lib/binnacle /home/binnacle/.cache /home/binnacle/.cache/huggingface
WORKDIR /srv/binnacle

FROM base AS api-packages
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app app
COPY binnacle binnacle
COPY migrations migrations
COPY shipped shipped
COPY terms terms
RUN /opt/venv/bin/pip install ./binnacle . -c constraints.txt

FROM base AS worker-packages
RUN python -m venv /opt/venv && /opt/venv/bin/pip install torch==2.13.0
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY app app
COPY binnacle binnacle
COPY workers workers
COPY migrations migrations
COPY shipped shipped
COPY terms terms
RUN /opt/venv/bin/pip install ./binnacle ".[worker]" -c constraints.txt

FROM base AS api
COPY --from=api-packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
USER binnacle
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "app.server", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS worker
COPY --from=worker-packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
USER binnacle
# a child that must stop gets SIGTERM through its parent; -g would signal it twice
ENTRYPOINT ["tini", "--"]
CMD ["python", "-c", "raise SystemExit('name a worker: see docker-compose.yml')"]
