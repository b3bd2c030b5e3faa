import pytest
@pytest.mark.parametrize("i", range(25))
def test_loop(serve, settings, model_bytes, i):
    from dataclasses import replace
    at, _ = serve(replace(settings, max_upload_bytes=len(model_bytes)))
    assert at.post("/v1/models", content=model_bytes).status_code == 201
    below, _ = serve(replace(settings, max_upload_bytes=len(model_bytes) - 1))
    refused = below.post("/v1/models", content=model_bytes)
    assert (refused.status_code) == (413)
    assert below.get("/healthz").status_code == 200
