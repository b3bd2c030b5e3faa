"""The control API, in the order in which a request meets it.

app         routes, and what stands around them
requests    what a client may say; recipes of a job, json_body and uploads for bodies
models, datasets, jobs, events, artifacts, health, metrics    the operations
services    the domain behind them
schemas     what is answered; downloads for files, problems for refusals
openapi     the document; answers and examples for what it shows
"""
