"""The documentation page loads from this service and from nowhere else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest

from tests.serve_app.api.service import call, fault, service

PAGE = "http://service/docs"


class Named(HTMLParser):
    """The addresses that a page's elements name, and whether it has scripts of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline_scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [value for name, value in attrs if name in ("src", "href") and value is not None]
        self.addresses += names
        self.inline_scripts += tag == "script" and not names


def named(text: str) -> Named:
    page = Named()
    page.feed(text)
    return page


def test_every_file_that_the_page_names_is_served_here() -> None:
    app = service()
    page = call(app, "GET", "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    types = {}
    for address in named(page.text).addresses:
        if address == "data:,":
            continue
        parts = urlsplit(urljoin(PAGE, address))
        assert (parts.scheme, parts.netloc) == ("http", "service")
        answer = call(app, "GET", parts.path)
        assert answer.status_code == 200
        assert len(answer.content) == int(answer.headers["content-length"]) > 100
        types[parts.path] = answer.headers["content-type"].partition(";")[0]
    assert types == {
        "/docs/swagger-ui.css": "text/css",
        "/docs/swagger-ui-bundle.js": "text/javascript",
        "/docs/start.js": "text/javascript",
    }


def test_the_page_starts_swagger_ui_on_the_document_of_this_service() -> None:
    app = service()
    script = call(app, "GET", "/docs/start.js").text
    [url] = re.findall(r'url: "(.*)"', script)
    assert call(app, "GET", urlsplit(urljoin(PAGE, url)).path).json()["openapi"].startswith("3.1")
    assert "validatorUrl: null" in script, "else it asks a validator on another host"
    assert b"SwaggerUIBundle" in call(app, "GET", "/docs/swagger-ui-bundle.js").content


def test_the_pages_policy_lets_a_browser_load_from_nowhere_else() -> None:
    page = call(service(), "GET", "/docs")
    policy = dict(each.strip().partition(" ")[::2] for each in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    allowed = {source for sources in policy.values() for source in sources.split()}
    assert allowed == {"'none'", "'self'", "'unsafe-inline'", "data:", "blob:"}
    assert named(page.text).inline_scripts == 0, "the policy would stop it"


def test_no_file_of_the_style_sheet_is_elsewhere() -> None:
    sheet = call(service(), "GET", "/docs/swagger-ui.css").text
    addresses = re.findall(r"url\(\s*[\"']?([^)]{5})", sheet)
    assert set(addresses) == {"data:"}


@pytest.mark.parametrize("name", ["swagger-ui.js", "redoc.standalone.js", "..%2fcore.py", "favicon.png"])
def test_nothing_else_of_the_package_is_served(name: str) -> None:
    answer = call(service(), "GET", f"/docs/{name}")
    assert (answer.status_code, fault(answer)["type"]) == (404, "not_found")
