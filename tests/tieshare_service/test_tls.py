"""What others reach speaks TLS and asks for keys, from the command line to gRPC."""

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
import tritonclient.grpc as triton
import trustme
from tests.serving import serving, tieshare

from tieshare_service.errors import SettingsError
from tieshare_service.settings import Settings
from tieshare_service.tls import Tls


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def pair(authority: trustme.CA, tmp_path: Path) -> tuple[Path, Path]:
    """Files with a certificate for localhost and its key."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def test_none_is_set_by_default(pair: tuple[Path, Path]) -> None:
    assert Tls.of(Settings()) is None
    certificate, key = pair
    settings = Settings(tls_certificate=str(certificate), tls_key=str(key))
    assert Tls.of(settings) == Tls(certificate, key)


def test_one_without_the_other_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(tls_certificate="c.pem")
    assert caught.value.where == "tls_key"
    with pytest.raises(SettingsError) as caught:
        Settings(tls_key="k.pem")
    assert caught.value.where == "tls_certificate"


def test_what_can_t_be_used_is_named(authority: trustme.CA, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    with pytest.raises(SettingsError) as caught:
        Tls.of(Settings(tls_certificate=f"{certificate}x", tls_key=str(key)))
    assert caught.value.where == "tls_certificate"
    key.write_bytes(authority.issue_cert("other").private_key_pem.bytes())
    with pytest.raises(SettingsError, match="MISMATCH") as caught:
        Tls.of(Settings(tls_certificate=str(certificate), tls_key=str(key)))
    key.write_bytes(b"no key")
    with pytest.raises(SettingsError) as caught:
        Tls.of(Settings(tls_certificate=str(certificate), tls_key=str(key)))
    assert "no key" not in str(caught.value)


@pytest.mark.slow
def test_the_whole_service_with_keys_and_tls(
    authority: trustme.CA, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate, key_file = pair
    folder, root = tmp_path / "data", tmp_path / "root.pem"
    root.write_bytes(authority.cert_pem.bytes())
    words = ["keys", "create", "--role", "admin", "--data-dir", str(folder)]
    made = subprocess.run(tieshare(*words), capture_output=True, text=True, check=True)
    key = made.stdout.strip()
    headers = {"authorization": f"Bearer {key}"}
    flags = ["--tls-certificate", str(certificate), "--tls-key", str(key_file), "--require-keys"]
    with serving(folder, *flags) as at:
        assert at.api.startswith("https://")
        with httpx.Client(verify=ssl.create_default_context(cafile=root)) as http:
            for url, path in ((at.api, "/v1/jobs"), (at.inference, "/v2/models/stats")):
                assert http.get(url + path).status_code == 401
                assert http.get(url + path, headers=headers).status_code == 200
        listing = tieshare("models", "list", "--json", "--url", at.api)
        environ = {"SSL_CERT_FILE": str(root), "PATH": ""}
        refused = subprocess.run(listing, env=environ, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "TIESHARE_KEY" in refused.stderr
        environ |= {"TIESHARE_KEY": key}
        shown = subprocess.run(listing, env=environ, capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == "[]"
        with triton.InferenceServerClient(at.rpc, ssl=True, root_certificates=str(root)) as client:
            assert client.is_server_live()
            assert client.get_model_repository_index(headers=headers).models == []


@pytest.mark.slow
def test_an_address_that_others_reach_is_not_opened_without_a_key(tmp_path: Path) -> None:
    for role in ("serve", "api", "inference"):
        flag = "--inference-host" if role == "inference" else "--host"
        command = tieshare(role, flag, "0.0.0.0", "--data-dir", str(tmp_path))
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert "tieshare keys create" in done.stderr
        assert "Traceback" not in done.stderr
