"""The README's code, block by block, on the real service.

What differs from a reader's hands: the ports are free ones, the jobs are short, and curl tells the
status of each answer, by a configuration file that it reads at its start.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from examples import digits, service

from tieshare.recipe import Target

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SECTION = "The API by example"
PLACEHOLDERS = {"mdl": "MODEL_ID", "dat": "DATASET_ID", "job": "JOB_ID"}
API = "http://127.0.0.1:8000"  # which commands take where no other is named
SHORT = '{"path_epochs": 12, "retrain_epochs": 3}'
SHORTER = {
    '"target": {"max_drop": 0.01}': f'"target": {{"max_drop": 0.01}}, "recipe": {SHORT}',
    'target={"max_drop": 0.01}': f'target={{"max_drop": 0.01}}, recipe={SHORT}',
    "--max-drop 0.01": "--max-drop 0.01 --recipe short.json",
}
CURLRC = 'write-out = "\\n%{http_code}"\n'


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Reader:
    """Somebody with a folder, who copies one command after another from the README.

    ``answers``  of the service, by the command as the README has it
    ``filled``   what the reader has learned to put in the place of a word
    """

    folder: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    filled: dict[str, str] = field(default_factory=dict)

    def answer(self, part: str) -> Answer:
        """Of the one command that has ``part`` in it."""
        (answer,) = (self.answers[command] for command in self.answers if part in command)
        return answer

    def bash(self, block: str) -> None:
        for command in re.findall(r"(?:.*\\\n)*.+", block):
            printed = self._run("bash", "-c", self._fill(command))
            if command.startswith("curl"):
                self._note(command, printed)

    def python(self, block: str) -> None:
        self._run(sys.executable, "-W", "error", "-c", self._fill(block))

    def _fill(self, code: str) -> str:
        for word, value in (self.filled | SHORTER).items():
            code = code.replace(word, value)
        return code

    def _run(self, *command: str) -> str:
        paths = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        environ = {
            "PATH": paths,
            "CURL_HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "TIESHARE_URL": self.filled[API],
        }
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def _note(self, command: str, printed: str) -> None:
        text, _, status = printed.rpartition("\n")
        self.answers[command] = Answer(int(status), text)
        given = re.match(r'\{"id":\s*"((...)_\w+)"', text)
        if given:
            self.filled[PLACEHOLDERS[given[2]]] = given[1]


def blocks(heading: str) -> list[tuple[str, str]]:
    """Language and text of each fenced block of a section."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[service.Service]:
    folder = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIESHARE_THREADS", "1")
        started = service.start(folder / "data", folder / "log")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def reader(running: service.Service, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Has been through the whole section, once for all tests."""
    reader = Reader(tmp_path_factory.mktemp("reader"))
    made_by_the_demo(reader.folder / "demo")
    (reader.folder / ".curlrc").write_text(CURLRC)
    (reader.folder / "short.json").write_text(SHORT)
    reader.filled[API] = running.api
    reader.filled["http://127.0.0.1:8001"] = running.inference
    for language, block in blocks(SECTION):
        if "/infer" in block:
            wait_until_served(f"{running.inference}/v2/models/digits/ready")
        {"bash": reader.bash, "python": reader.python}[language](block)
    return reader


def made_by_the_demo(folder: Path) -> None:
    folder.mkdir()
    made = digits.make(folder, epochs=15)
    image = made.test_images[:1]
    tensor = {"name": digits.INPUT, "datatype": "FP32", "shape": image.shape}
    body = {"inputs": [{**tensor, "data": image.ravel().tolist()}]}
    (folder / "digit.json").write_text(json.dumps(body))


def wait_until_served(ready: str) -> None:
    deadline = time.monotonic() + 5
    while not httpx.get(ready).is_success:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def loads(file: Path) -> ort.InferenceSession:
    return ort.InferenceSession(file, providers=["CPUExecutionProvider"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["models", "datasets"])
def test_each_upload_is_answered_by_an_id(reader: Reader, kind: str) -> None:
    answer = reader.answer(f"/v1/{kind}?name=digits")

    assert answer.status == 201
    assert re.fullmatch(rf"{kind[0]}[a-z]{{2}}_[a-z2-7]{{20}}", answer.json["id"])
    assert answer.json["name"] == "digits"


@pytest.mark.slow
def test_two_ids_make_a_job_that_succeeds(reader: Reader) -> None:
    posted, asked = reader.answer("-d '{"), reader.answer("?wait=30")
    last = reader.answer("/events").text.rstrip().splitlines()[-1]

    assert posted.status == 202
    assert posted.json["recipe"]["target"] == asdict(Target(max_drop=0.01))
    assert (asked.status, asked.json["id"]) == (200, posted.json["id"])
    assert json.loads(last.removeprefix("data: "))["status"] == "succeeded"


@pytest.mark.slow
def test_the_served_model_answers_as_the_downloaded_one_does(reader: Reader) -> None:
    request = json.loads((reader.folder / "demo" / "digit.json").read_text())["inputs"][0]
    x = np.array(request["data"], np.float32).reshape(request["shape"])
    (expected,) = loads(reader.folder / "shared.onnx").run(None, {request["name"]: x})
    answer = reader.answer("/infer")
    output = answer.json["outputs"][0]

    assert reader.answer("/artifacts/shared.onnx").status == 200
    assert (answer.status, output["shape"]) == (200, [1, 10])
    assert np.array_equal(np.array(output["data"], np.float32), expected[0])


@pytest.mark.slow
@pytest.mark.parametrize("made", ["smaller.onnx", "smaller/shared.onnx"])
def test_python_and_the_command_line_make_the_same_network(reader: Reader, made: str) -> None:
    x = np.random.default_rng(0).random((32, 64), dtype=np.float32)
    files = [reader.folder / name for name in (made, "shared.onnx", "demo/digits.onnx")]
    logits, by_curl, dense = (loads(file).run(None, {"x": x})[0] for file in files)

    assert np.allclose(logits, by_curl, atol=1e-4)
    assert not np.allclose(dense, by_curl, atol=1e-1)
    assert files[0].stat().st_size < files[2].stat().st_size


def test_every_make_target_of_the_readme_is_in_the_makefile() -> None:
    named = set(re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE))
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert {"demo", "serve"} <= named <= targets
