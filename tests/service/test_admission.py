"""Who is let in: keys of callers and of administrators, deadlines, and what a reply's head says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from service_process import ServiceProcess
from tiny_models import TINY_BINARY

from models.repository import Repository
from service.admission import Admission, Keys
from service.app import create_app
from service.catalog import Catalog
from service.engine import Engine
from service.errors import KeysRefused
from service.exchange import Exchange
from service.settings import Settings

ENCODE = "/v1/models/tiny-binary/encode"
BODY: dict[str, Any] = {"inputs": [[0.5] * 16]}
USER, ADMIN, FROM_FILE = "the-key-of-alice", "the-key-of-an-administrator", "the-key-in-a-file"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def guarded(tiny_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service with keys, whose log shows everything."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "keys").write_text(f"# those of the batch jobs\n\nnightly:{FROM_FILE}  # until spring\n")
    settings = {
        "api_keys": f"alice:{USER}",
        "api_keys_file": folder / "keys",
        "admin_keys": f"root:{ADMIN}",
        "open_metrics": False,
        "log_level": "debug",
        "access_log": True,
    }
    with ServiceProcess([tiny_repository], log=folder / "log", **settings) as service:
        yield service


@pytest.mark.parametrize("key", [USER, ADMIN, FROM_FILE])
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_a_caller_with_a_key_is_let_in(guarded: ServiceProcess, header: str, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"} if header == "authorization" else {"X-API-Key": key}
    assert httpx.post(f"{guarded.url}{ENCODE}", json=BODY, headers=headers, timeout=30).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {USER}"},
        {"Authorization": f"Bearer {USER}x"},
        {"Authorization": f"Bearer {USER[:-1]}"},
        {"X-API-Key": "alice"},
        {"X-API-Key": f"alice:{USER}"},
        {"X-API-Key": "\xe9" * 20},
    ],
    ids=["none", "empty", "basic", "longer", "shorter", "its-name", "name-and-key", "no-ascii"],
)
@pytest.mark.parametrize("path", ["/v1/models", "/v2/models/tiny-binary", "/v2", "/v2/", "/metrics", ENCODE])
def test_a_caller_without_a_known_key_is_turned_away(
    guarded: ServiceProcess, path: str, headers: dict[str, str]
) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    method = "POST" if path == ENCODE else "GET"
    reply = httpx.request(method, f"{guarded.url}{path}", headers=encoded, timeout=30)  # type: ignore[arg-type]
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert USER not in reply.text


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"])
def test_health_and_pages_need_no_key(guarded: ServiceProcess, path: str) -> None:
    assert httpx.get(f"{guarded.url}{path}", timeout=30).status_code == 200


def test_only_an_administrator_changes_what_is_served(guarded: ServiceProcess) -> None:
    url = f"{guarded.url}/v2/repository/models/tiny-binary/load"
    assert httpx.post(url, timeout=30).status_code == 401
    assert httpx.post(url, headers={"X-API-Key": USER}, timeout=30).status_code == 403
    assert httpx.post(url, headers={"X-API-Key": ADMIN}, timeout=30).status_code in (200, 404)


def test_without_an_admin_key_nobody_changes_what_is_served(running_service: ServiceProcess) -> None:
    reply = httpx.post(f"{running_service.url}/v2/repository/models/tiny-binary/unload", timeout=30)
    assert reply.status_code == 403
    assert httpx.get(f"{running_service.url}/v1/models/tiny-binary", timeout=30).status_code == 200


def test_no_key_is_ever_logged(guarded: ServiceProcess) -> None:
    httpx.get(f"{guarded.url}/v1/models?key={USER}", headers={"X-API-Key": f"{ADMIN}typo"}, timeout=30)
    httpx.get(f"{guarded.url}/v1/models", headers={"X-API-Key": USER}, timeout=30)
    log = guarded.log_text()
    assert '"caller":"alice"' in log
    assert not any(key in log for key in (USER, ADMIN, FROM_FILE))


@pytest.mark.parametrize(
    ("listed", "sentence"),
    [
        ("a-key-without-a-name", "entry 1 of X: expected name:key"),
        ("alice:too-short", "key alice of X: expected at least 16 printable characters"),
        ("a:0123456789abcdef a:0123456789abcdeg", "key a of X is there twice"),
    ],
)
def test_keys_that_are_no_good_are_refused_and_not_repeated(listed: str, sentence: str) -> None:
    with pytest.raises(KeysRefused, match=sentence) as refusal:
        Keys.of(listed, None, "X")
    assert not any(entry.partition(":")[2] in str(refusal.value) for entry in listed.split() if ":" in entry)


def test_a_file_of_keys_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeysRefused, match=r"LATENT_CODES_API_KEYS_FILE: .*keys cannot be read"):
        Keys.of("", tmp_path / "keys", "LATENT_CODES_API_KEYS")


def test_settings_do_not_show_keys_when_they_are_printed() -> None:
    settings = Settings(api_keys=f"alice:{USER}")  # type: ignore[arg-type]
    assert USER not in repr(settings)
    assert USER not in str(settings.model_dump())


async def nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


def exchange(**headers: str) -> Exchange:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Exchange({"type": "http", "method": "POST", "path": "/v1/models/m/encode", "headers": raw}, nothing)


@pytest.mark.parametrize(
    ("limit", "asked", "seconds"), [(1000, None, 1.0), (1000, "5", 0.005), (1000, "5000", 1.0), (0, "20", 0.02)]
)
def test_a_deadline_is_the_callers_and_at_most_the_services(
    monkeypatch: pytest.MonkeyPatch, limit: int, asked: str | None, seconds: float
) -> None:
    monkeypatch.setattr("service.admission.time.monotonic", lambda: 100.0)
    asking = exchange(**({"x_request_timeout_ms": asked} if asked else {}))
    Admission(Settings(request_timeout_ms=limit)).admit(asking)
    assert asking.deadline == pytest.approx(100.0 + seconds)


def test_without_a_limit_there_is_no_deadline() -> None:
    asking = exchange()
    Admission(Settings(request_timeout_ms=0)).admit(asking)
    assert asking.deadline is None


@pytest.mark.parametrize("value", ["-1", "1.5", "soon", "", "1e3", "9" * 10])
def test_a_timeout_that_is_none_is_told_so(running_service: ServiceProcess, value: str) -> None:
    reply = httpx.post(f"{running_service.url}{ENCODE}", json=BODY, headers={"X-Request-Timeout-Ms": value}, timeout=30)
    assert reply.status_code == 422
    assert reply.json()["field"] == "X-Request-Timeout-Ms"
    # Nothing of a GET waits for a turn.
    assert (
        httpx.get(
            f"{running_service.url}/v2/health/live", headers={"X-Request-Timeout-Ms": value}, timeout=30
        ).status_code
        == 200
    )


@pytest.mark.anyio
async def test_nothing_is_done_for_a_request_whose_deadline_has_passed(tiny_repository: Path) -> None:
    engine = Engine.load(Repository(tiny_repository).read("tiny-binary"))
    app = create_app(Settings(), Catalog([engine]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        reply = await client.post(ENCODE, json=BODY, headers={"X-Request-Timeout-Ms": "0"})
        assert reply.status_code == 504
        assert (await client.post(ENCODE, json=BODY)).json()["codes"] == TINY_BINARY.encode(
            TINY_BINARY.inputs(1) * 0 + 0.5
        ).codes.tolist()


def test_a_page_may_load_only_what_is_the_services(running_service: ServiceProcess) -> None:
    page = httpx.get(f"{running_service.url}/docs", timeout=30)
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/v1/models", "/docs", "/nothing", "/v2/health/live"])
def test_no_reply_is_guessed_at_or_says_what_serves(running_service: ServiceProcess, path: str) -> None:
    reply = httpx.get(f"{running_service.url}{path}", timeout=30)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert "server" not in reply.headers


def test_pages_of_other_origins_may_ask_only_where_that_is_set(running_service: ServiceProcess, tmp_path: Path) -> None:
    asking = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    refused = httpx.options(f"{running_service.url}{ENCODE}", headers=asking, timeout=30)
    assert "access-control-allow-origin" not in refused.headers
    answered = httpx.get(f"{running_service.url}/v1/models", headers=asking, timeout=30)
    assert "access-control-allow-origin" not in answered.headers


@pytest.mark.anyio
async def test_pages_of_an_origin_that_is_set_may_ask(tiny_repository: Path) -> None:
    engine = Engine.load(Repository(tiny_repository).read("tiny-binary"))
    app = create_app(Settings(cors_origins="https://example.org"), Catalog([engine]))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for origin, allowed in (("https://example.org", "https://example.org"), ("https://example.com", None)):
            asking = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            reply = await client.options(ENCODE, headers=asking)
            assert reply.headers.get("access-control-allow-origin") == allowed
