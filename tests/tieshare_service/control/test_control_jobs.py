import threading
import time
from dataclasses import asdict
from typing import Any

import httpx
import pytest

from tieshare.recipe import Recipe, Target
from tieshare_service.control.services import Services

Uploaded = tuple[str, str]


def slug(answer: httpx.Response) -> str:
    assert answer.headers["Content-Type"] == "application/problem+json"
    return str(answer.json()["type"]).removeprefix("https://tieshare.dev/problems/")


@pytest.fixture
def shortest(uploaded: Uploaded) -> dict[str, Any]:
    return {"model": uploaded[0], "dataset": uploaded[1]}


def test_two_ids_are_enough(http: httpx.Client, shortest: dict[str, Any]) -> None:
    answer = http.post("/v1/jobs", json=shortest)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["Retry-After"]) > 0
    assert (job["status"], job["name"], job["attempt"]) == ("queued", "digits", 0)
    assert (job["stage"], job["progress"], job["error"], job["result"]) == (None,) * 4
    assert job["recipe"] == Recipe().to_dict()
    assert http.get(answer.headers["Location"]).json() == job


def test_what_is_asked_for_is_in_the_recipe_and_the_rest_is_filled_in(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    asked = {"name": "mine", "target": {"min_ratio": 20}, "recipe": {"penalty": "oscar", "seed": 3}}
    job = http.post("/v1/jobs", json=shortest | asked).json()
    assert job["name"] == "mine"
    assert job["recipe"] == Recipe(Target(min_ratio=20), penalty="oscar", seed=3).to_dict()


def test_a_recipe_from_an_answer_may_be_sent_again(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    first = http.post("/v1/jobs", json=shortest | {"target": {"max_drop": 0.1}}).json()
    second = http.post("/v1/jobs", json=shortest | {"recipe": first["recipe"]}).json()
    assert second["recipe"] == first["recipe"]


def test_a_job_without_a_name_takes_the_models_as_it_can_be_served(
    http: httpx.Client, model_bytes: bytes, shortest: dict[str, Any]
) -> None:
    named = http.post("/v1/models", params={"name": "My digits (1)"}, content=model_bytes).json()
    job = http.post("/v1/jobs", json=shortest | {"model": named["id"]}).json()
    assert job["name"] == "My-digits-1"


def test_validate_only_checks_everything_and_queues_nothing(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    query = {"validate_only": "true"}
    good = http.post("/v1/jobs", params=query, json=shortest | {"target": {"max_drop": 0}})
    bad = http.post("/v1/jobs", params=query, json=shortest | {"target": {"max_drop": 1}})
    assert good.status_code == 200
    assert good.json()["name"] == "digits"
    assert good.json()["recipe"]["target"] == asdict(Target(max_drop=0))
    assert (bad.status_code, bad.json()["where"]) == (422, "target.max_drop")
    assert http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"modle": "x"}, "modle"),
        ({"name": "a/b"}, "name"),
        ({"name": ".hidden"}, "name"),
        ({"name": 3}, "name"),
        ({"target": {"max_drop": 0.1, "min_ratio": 2}}, "target"),
        ({"target": {}}, "target"),
        ({"target": {"max_bytes": 9000, "front": True}}, "target"),
        ({"target": {"max_drop": "small"}}, "target.max_drop"),
        ({"target": {"max_bytes": 0}}, "target.max_bytes"),
        ({"target": {"max_bytes": 10.5}}, "target.max_bytes"),
        ({"target": {"max_latency_us": 0}}, "target.max_latency_us"),
        ({"target": {"front": False}}, "target.front"),
        ({"target": {"front": 1}}, "target.front"),
        ({"target": {"ratio": 2}}, "target.ratio"),
        ({"recipe": {"penality": "growl"}}, "recipe.penality"),
        ({"recipe": {"penalty": "ridge"}}, "recipe.penalty"),
        ({"recipe": {"penalties": {"hidden": "ridge"}}}, "recipe.penalties.hidden"),
        ({"recipe": {"penalties": {"hiden": "l1"}}}, "penalties.hiden"),
        ({"recipe": {"tie_by": "luck"}}, "recipe.tie_by"),
        ({"recipe": {"tie_groups": [{"rows": [0, 1]}]}}, "recipe.tie_groups.0.layer"),
        (
            {"recipe": {"tie_groups": [{"layer": "hidden", "rows": [0, "x"]}]}},
            "recipe.tie_groups.0.rows.1",
        ),
        ({"recipe": {"tie_groups": [{"tensors": ["w1"]}]}}, "recipe.tie_groups.0.tensors"),
        ({"recipe": {"tie_groups": [{"layer": "hidden", "rows": [0, 4]}]}}, "tie_groups.0.rows"),
        ({"recipe": {"bits": 5}}, "recipe.bits"),
        ({"recipe": {"device": "tpu"}}, "recipe.device"),
        ({"recipe": {"path_epochs": 0}}, "recipe.path_epochs"),
        ({"recipe": {"path_epochs": "4"}}, "recipe.path_epochs"),
        ({"recipe": {"path_epochs": 4.5}}, "recipe.path_epochs"),
        ({"recipe": {"tie": 1}}, "recipe.tie"),
        ({"recipe": {"seed": -1}}, "recipe.seed"),
        ({"recipe": {"learning_rate": 0}}, "recipe.learning_rate"),
        ({"recipe": {"target": {"max_drop": 0.1}}, "target": {"max_drop": 0.1}}, "recipe.target"),
        ({"recipe": []}, "recipe"),
    ],
)
def test_a_field_that_is_wrong_is_named(
    http: httpx.Client, shortest: dict[str, Any], wrong: dict[str, Any], where: str
) -> None:
    answer = http.post("/v1/jobs", json=shortest | wrong)
    assert (answer.status_code, answer.json()["where"]) == (422, where)


def test_a_field_that_is_missing_is_named(http: httpx.Client, uploaded: Uploaded) -> None:
    answer = http.post("/v1/jobs", json={"model": uploaded[0]})
    assert (answer.status_code, answer.json()["where"]) == (422, "dataset")


def test_a_number_that_is_none_is_refused(http: httpx.Client, uploaded: Uploaded) -> None:
    for number in ("NaN", "Infinity", "1e999"):
        model, dataset = uploaded
        body = f'{{"model": "{model}", "dataset": "{dataset}", "recipe": {{"l2": {number}}}}}'
        answer = http.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["where"]) == (422, "recipe.l2")


def test_a_query_parameter_that_does_not_exist_is_named(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    answer = http.post("/v1/jobs", params={"validate_onyl": "true"}, json=shortest)
    assert (answer.status_code, slug(answer)) == (422, "parameter-unknown")
    assert answer.json()["where"] == "validate_onyl"
    assert "validate_only" in answer.json()["detail"]
    assert http.get("/v1/jobs").json()["items"] == []


@pytest.mark.parametrize("missing", ["mdl_aaaaaaaaaaaaaaaaaaaa", "digits", "", "../../x", "\0"])
def test_a_model_that_does_not_exist_is_not_found(
    http: httpx.Client, shortest: dict[str, Any], missing: str
) -> None:
    answer = http.post("/v1/jobs", json=shortest | {"model": missing})
    assert (answer.status_code, slug(answer)) == (404, "model-not-found")
    assert answer.json().get("where", "") == missing


def test_a_data_set_that_does_not_exist_is_not_found(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    answer = http.post("/v1/jobs", json=shortest | {"dataset": shortest["model"]})
    assert (answer.status_code, slug(answer)) == (404, "dataset-not-found")


def test_the_same_key_with_the_same_request_gives_the_same_job(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "7f1c"}
    first = http.post("/v1/jobs", json=shortest, headers=key)
    again = http.post("/v1/jobs", json=dict(reversed(shortest.items())), headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert len(http.get("/v1/jobs").json()["items"]) == 1


def test_the_same_key_with_another_request_is_a_conflict(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "7f1c"}
    http.post("/v1/jobs", json=shortest, headers=key)
    other = http.post("/v1/jobs", json=shortest | {"name": "other"}, headers=key)
    assert (other.status_code, slug(other)) == (409, "idempotency-conflict")


def test_a_key_still_names_its_job_when_the_uploads_are_gone(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "7f1c"}
    job = http.post("/v1/jobs", json=shortest, headers=key).json()["id"]
    http.post(f"/v1/jobs/{job}/cancel")
    http.delete(f"/v1/models/{shortest['model']}")
    assert http.post("/v1/jobs", json=shortest, headers=key).json()["id"] == job
    fresh = http.post("/v1/jobs", json=shortest, headers={"Idempotency-Key": "8a2d"})
    assert (fresh.status_code, slug(fresh)) == (404, "model-not-found")


@pytest.mark.parametrize("key", ["", "k" * 256, "with space"])
def test_a_key_that_is_none_is_refused(
    http: httpx.Client, shortest: dict[str, Any], key: str
) -> None:
    answer = http.post("/v1/jobs", json=shortest, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["where"].lower()) == (422, "idempotency-key")


def test_lists_are_by_status_and_in_pages(http: httpx.Client, shortest: dict[str, Any]) -> None:
    ids = [http.post("/v1/jobs", json=shortest).json()["id"] for _ in range(3)]
    http.post(f"/v1/jobs/{ids[0]}/cancel")
    first = http.get("/v1/jobs", params={"page_size": 2}).json()
    rest = http.get("/v1/jobs", params={"page_token": first["next_page_token"]}).json()
    queued = http.get("/v1/jobs", params={"status": "queued"}).json()
    assert [job["id"] for job in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_page_token"] is None
    assert [job["id"] for job in queued["items"]] == [ids[2], ids[1]]
    assert http.get("/v1/jobs", params={"status": "done"}).json()["where"] == "status"


def test_a_queued_job_is_cancelled_at_once_and_may_be_retried(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    place = http.post("/v1/jobs", json=shortest).headers["Location"]
    cancelled = http.post(f"{place}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert cancelled.headers["Location"] == place
    assert cancelled.json()["ended_at"] is not None
    retried = http.post(f"{place}/retry")
    assert (retried.status_code, retried.json()["status"]) == (202, "queued")
    refused = http.post(f"{place}/retry")
    assert (refused.status_code, slug(refused)) == (409, "job-wrong-state")


def test_a_job_is_deleted_once_it_has_ended(http: httpx.Client, shortest: dict[str, Any]) -> None:
    place = http.post("/v1/jobs", json=shortest).headers["Location"]
    refused = http.delete(place)
    assert (refused.status_code, slug(refused)) == (409, "job-wrong-state")
    http.post(f"{place}/cancel")
    assert http.delete(place).status_code == 204
    assert http.get(place).status_code == 404


def test_a_running_job_is_asked_to_stop(
    http: httpx.Client, services: Services, shortest: dict[str, Any]
) -> None:
    place = http.post("/v1/jobs", json=shortest).headers["Location"]
    services.queue.claim("worker", 30)
    assert http.post(f"{place}/cancel").json()["status"] == "cancelling"


def test_a_finished_job_shows_its_result(
    http: httpx.Client, services: Services, shortest: dict[str, Any]
) -> None:
    job = http.post("/v1/jobs", json=shortest).json()["id"]
    services.queue.claim("worker", 30)
    step = {"stage": "path", "done": 3, "total": 9, "unit": "epochs", "eta_s": 1.5}
    services.queue.progress(job, 1, step | {"metrics": {"accuracy": 0.9}})
    shown = http.get(f"/v1/jobs/{job}").json()
    assert (shown["stage"], shown["metrics"]) == ("path", {"accuracy": 0.9})
    assert shown["progress"] == {"done": 3, "total": 9, "unit": "epochs", "eta_s": 1.5}
    result = {
        "report": {"shared": {"bytes": 9}},
        "artifacts": ["shared.onnx"],
        "served": {"name": "digits", "version": 1},
    }
    services.queue.succeed(job, 1, result)
    done = http.get(f"/v1/jobs/{job}").json()
    assert (done["status"], done["result"]) == ("succeeded", result)
    refused = http.post(f"/v1/jobs/{job}/cancel")
    assert (refused.status_code, slug(refused)) == (409, "job-wrong-state")


def test_a_running_job_shows_its_front(
    http: httpx.Client,
    services: Services,
    shortest: dict[str, Any],
    front: list[dict[str, Any]],
) -> None:
    job = http.post("/v1/jobs", json=shortest).json()
    services.queue.claim("worker", 30)
    services.queue.front(job["id"], 1, front)
    assert job["front"] is None
    shown = http.get(f"/v1/jobs/{job['id']}").json()["front"]
    assert shown == [point | {"loss": None} for point in front]


def test_a_failed_job_shows_why(
    http: httpx.Client, services: Services, shortest: dict[str, Any]
) -> None:
    job = http.post("/v1/jobs", json=shortest).json()["id"]
    services.queue.claim("worker", 30)
    error = {"type": "twin-mismatch", "message": "they differ by 0.1"}
    services.queue.fail(job, 1, error)
    assert http.get(f"/v1/jobs/{job}").json()["error"] == error


@pytest.mark.parametrize("path", ["", "/events", "/artifacts", "/artifacts/tied.onnx"])
def test_a_job_that_does_not_exist_is_not_found(http: httpx.Client, path: str) -> None:
    for job in ("job_aaaaaaaaaaaaaaaaaaaa", "digits"):
        answer = http.get(f"/v1/jobs/{job}{path}")
        assert (answer.status_code, slug(answer)) == (404, "job-not-found")


def test_a_long_poll_is_answered_when_the_job_changes(
    http: httpx.Client, services: Services, shortest: dict[str, Any]
) -> None:
    place = http.post("/v1/jobs", json=shortest).headers["Location"]
    timer = threading.Timer(0.3, services.queue.claim, ("worker", 30))
    timer.start()
    begun = time.monotonic()
    job = http.get(place, params={"wait": 20}).json()
    took_s = time.monotonic() - begun
    timer.join()
    assert job["status"] == "running"
    assert 0.25 <= took_s < 10


def test_a_long_poll_is_answered_when_its_time_is_over(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    place = http.post("/v1/jobs", json=shortest).headers["Location"]
    begun = time.monotonic()
    job = http.get(place, params={"wait": 0.3}).json()
    assert job["status"] == "queued"
    assert 0.3 <= time.monotonic() - begun < 10


def test_a_long_poll_on_an_ended_job_is_answered_at_once(
    http: httpx.Client, shortest: dict[str, Any]
) -> None:
    place = http.post("/v1/jobs", json=shortest).headers["Location"]
    http.post(f"{place}/cancel")
    begun = time.monotonic()
    assert http.get(place, params={"wait": 20}).json()["status"] == "cancelled"
    assert time.monotonic() - begun < 10


def test_a_heartbeat_of_the_worker_is_no_change(
    http: httpx.Client, services: Services, shortest: dict[str, Any]
) -> None:
    job = http.post("/v1/jobs", json=shortest).json()["id"]
    services.queue.claim("worker", 30)
    timer = threading.Timer(0.1, services.queue.beat, (job, 1, 60))
    timer.start()
    begun = time.monotonic()
    http.get(f"/v1/jobs/{job}", params={"wait": 0.5})
    assert time.monotonic() - begun >= 0.5
    timer.join()


@pytest.mark.parametrize("wait", ["-1", "61", "long"])
def test_a_wait_that_is_none_is_refused(
    http: httpx.Client, shortest: dict[str, Any], wait: str
) -> None:
    place = http.post("/v1/jobs", json=shortest).headers["Location"]
    answer = http.get(place, params={"wait": wait})
    assert (answer.status_code, answer.json()["where"]) == (422, "wait")
