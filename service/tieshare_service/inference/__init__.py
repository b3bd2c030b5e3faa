"""Serves the models of one folder by the Open Inference Protocol v2 over HTTP.

The modules, in the order of a request:

    server       the process: uvicorn, flags
    protocol     from the socket to the run and back, for requests that run in a moment
    app          ASGI, for all others: body limit, errors to answers
    endpoints    one function a route, and the table of routes
    wire         HTTP body <-> request and response
    data_plane   checks a request against its model, runs it where it blocks nobody
    tensors      protocol tensors <-> numpy arrays, by the one table in ``datatypes``
    repository   which versions are served; ``folder`` reads the disk, ``watcher`` keeps it in step
    model        one ONNX Runtime session
    tracing      a request's times as OpenTelemetry's spans, where that is asked for

This process imports ONNX Runtime and numpy; never torch, scikit-learn, scipy or the database.
"""
