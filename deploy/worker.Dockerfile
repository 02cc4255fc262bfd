# Worker and dispatcher with all dependencies. torch from PyPI includes CUDA, so one image serves CPU and GPU hosts.
FROM python:3.13-slim-trixie AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock

FROM python:3.13-slim-trixie
RUN useradd --system --uid 10001 --home-dir /nonexistent ttm && install -d -o ttm /var/lib/ttm
COPY --from=build /venv /venv
WORKDIR /app
COPY worker/ worker/
COPY ttm_jobs/ ttm_jobs/
COPY ttm_core/ ttm_core/
COPY ttm_measure/ ttm_measure/
COPY migrations/ migrations/
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
CMD ["python", "-m", "worker"]
