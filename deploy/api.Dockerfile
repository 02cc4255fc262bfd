# The API and the migrations, without torch, timm and Celery. Includes the command line, which creates the first key.
FROM python:3.13-slim-trixie AS build
WORKDIR /build
COPY deploy/api.lock ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r api.lock

FROM python:3.13-slim-trixie
RUN useradd --system --uid 10001 --home-dir /nonexistent ttm && install -d -o ttm /var/lib/ttm
COPY --from=build /venv /venv
WORKDIR /app
COPY api/ api/
COPY ttm_jobs/ ttm_jobs/
COPY ttm_core/ ttm_core/
COPY ttm_measure/ ttm_measure/
COPY migrations/ migrations/
COPY cli/ cli/
COPY ttm_client/ ttm_client/
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
EXPOSE 8000
CMD ["python", "-m", "api"]
