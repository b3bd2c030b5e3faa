"""The service around the library: control API, queue, worker, inference, client and CLI."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports it, as in tieshare
