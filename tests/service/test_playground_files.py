"""The playground's files: what they load, how browsers keep them, and that they stand alone."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from service_process import ServiceProcess

FOLDER = Path(__file__).parents[2] / "service" / "playground"
SCRIPTS = sorted(FOLDER.rglob("*.js"))


@pytest.fixture
def client(running_service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running_service.url, timeout=30) as client:
        yield client


def links_of(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="(playground/[^"]+)"', page)


def test_the_root_is_a_page_whose_files_are_all_here(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    types = {link.rpartition(".")[2]: client.get(f"/{link}").headers["content-type"] for link in links_of(page.text)}
    assert types == {
        "css": "text/css; charset=utf-8",
        "js": "text/javascript; charset=utf-8",
        "svg": "image/svg+xml",
    }


def test_the_page_may_load_nothing_from_elsewhere_and_run_nothing_that_stands_in_it(client: httpx.Client) -> None:
    page = client.get("/")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] in ("'none'", "'self'")
    for kind in ("script-src", "style-src", "connect-src"):
        assert policy.get(kind, policy["default-src"]) == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page.text)


def test_browsers_keep_the_files_for_a_year_and_ask_for_the_page_anew(client: httpx.Client) -> None:
    page = client.get("/")
    assert page.headers["cache-control"] == "no-cache"
    again = client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    link = links_of(page.text)[0]
    assert client.get(f"/{link}").headers["cache-control"] == "public, max-age=31536000, immutable"
    of_another_release = client.get(f"/playground/0000/{link.split('/', 2)[2]}")
    assert (of_another_release.status_code, of_another_release.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("path", ["index.html", "..%2Fapp.py", "nothing.js", "", "sections"])
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    digest = links_of(client.get("/").text)[0].split("/")[1]
    assert client.get(f"/playground/{digest}/{path}").status_code == 404


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_script_imports_what_is_there_and_knows_no_other_host(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    for imported in re.findall(r'from "([^"]+)"', text):
        assert (script.parent / imported).resolve() in SCRIPTS, imported
    assert not re.search(r"https?://|//cdn|\beval\(|innerHTML", text)


def test_the_pages_elements_are_those_that_the_scripts_look_for() -> None:
    page = (FOLDER / "index.html").read_text(encoding="utf-8")
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    texts = "".join(script.read_text(encoding="utf-8") for script in SCRIPTS)
    looked_for = set(re.findall(r'\b(?:element|canvas|input)\("([\w-]+)"\)', texts))
    assert len(looked_for) > 40
    assert looked_for <= set(ids)
    assert set(re.findall(r'\s(?:for|aria-labelledby|aria-describedby)="([^"]+)"', page)) <= set(ids)
