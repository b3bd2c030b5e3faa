"""The service around the library: control API, queue, worker, inference, client and CLI."""
