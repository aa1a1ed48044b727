"""The page's files: all of them arrive, they need nothing from elsewhere, and browsers keep them as they may."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from publish.page_files import FOLDER, document, files, is_page, page_routes

PARTS = Path(__file__).with_name("page") / "parts.test.mjs"


@pytest.fixture
def browser() -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(page_routes())
    with TestClient(app) as client:
        yield client


def test_whatever_the_page_asks_for_is_there(browser: TestClient) -> None:
    html = browser.get("/").text
    asked = set(re.findall(r'(?:href|src)="(page/[^"]+)"', html))
    for name, file in files().items():
        if name.endswith(".js"):
            asked |= {
                f"page/{document().version}/{found}" for found in re.findall(r'from "\./([^"]+)"', file.read_text())
            }
    assert len(asked) > 20
    for path in asked:
        answer = browser.get(f"/{path}")
        assert answer.status_code == 200, path
        assert answer.content == files()[path.rsplit("/", 1)[1]].read_bytes()
    assert {path.rsplit("/", 1)[1] for path in asked} == set(files()), "a file that nothing asks for"


def test_the_document_is_asked_for_again_and_its_files_are_kept_for_good(browser: TestClient) -> None:
    first = browser.get("/")
    assert first.headers["cache-control"] == "no-cache"
    again = browser.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    part = browser.get(f"/page/{document().version}/main.js")
    assert "immutable" in part.headers["cache-control"]
    assert part.headers["content-type"].startswith("text/javascript")
    older = browser.get("/page/0123456789abcdef/main.js")
    assert older.content == part.content
    assert older.headers["cache-control"] == "no-store"


def test_nothing_runs_and_nothing_is_loaded_that_is_not_from_here(browser: TestClient) -> None:
    answer = browser.get("/")
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", answer.text), (
        "inline, which is not allowed"
    )
    for file in [FOLDER / "index.html", *files().values()]:
        addresses = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", file.read_text()))
        assert addresses <= {"http://www.w3.org"}, f"{file.name} names another site"


def test_only_the_pages_own_files_can_be_asked_for(browser: TestClient) -> None:
    for path in ("/page/x/page_files.py", "/page/x/index.html", "/page/x/..%2fhttp.py", "/page/x/%2e%2e/http.py"):
        answer = browser.get(path)
        assert answer.status_code == 404, path
        assert "import" not in answer.text
    assert is_page("/")
    assert is_page("/page/0/main.js")
    assert not is_page("/pages")
    assert not is_page("/api/v1/streams")


def test_what_of_the_page_needs_no_browser(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: apt-get install nodejs")
    shutil.copytree(FOLDER, tmp_path / "publish" / "page")
    (tmp_path / "package.json").write_text('{"type": "module"}')  # else older ones take .js for scripts
    tests = tmp_path / "tests" / "publish" / "page"
    tests.mkdir(parents=True)
    shutil.copy(PARTS, tests)
    done = subprocess.run([node, "--test", tests / PARTS.name], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
