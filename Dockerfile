# One image for every role: docker run -p 8000:8000 -p 8001:8001 -p 8002:8002 -v data:/data tieshare
#   all roles on one machine  tieshare serve      (the default)
#   one role alone            tieshare api | worker | inference
FROM python:3.11-slim

RUN apt-get update && apt-get install --no-install-recommends --yes make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 tieshare && mkdir /data && chown tieshare /data

WORKDIR /app
COPY pyproject.toml constraints.txt Makefile README.md ./
COPY compression compression
COPY service service
# With a GPU: docker build --build-arg TORCH_INDEX= .
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=compress,objects,postgresql,tracing
RUN make install EXTRAS=$EXTRAS TORCH_INDEX=$TORCH_INDEX

USER tieshare
ENV PATH=/app/.venv/bin:$PATH \
    TIESHARE_DATA_DIR=/data \
    TIESHARE_HOST=0.0.0.0 \
    TIESHARE_INFERENCE_HOST=0.0.0.0 \
    HEALTH_URL=http://127.0.0.1:8000/healthz
VOLUME /data
EXPOSE 8000 8001 8002
# The inference role alone: -e HEALTH_URL=http://127.0.0.1:8001/v2/health/live
# The worker role alone has no port: --no-healthcheck
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(os.environ['HEALTH_URL'], timeout=2)"]
CMD ["tieshare", "serve"]
