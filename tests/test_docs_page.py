"""The page of the API's description in a real browser, where it needs no other host."""

from __future__ import annotations

from chromium import Watched, expect, needs_chromium
from served import colours, serving

# covers: R18

pytestmark = needs_chromium
KEY = "opensesame"


def test_the_description_can_be_read_and_tried_with_a_key_and_without_other_hosts(browser):
    environment = {"PAWPRINT_API_KEY": KEY}
    with serving("--model", str(colours()), environment=environment) as server:
        watched = Watched(browser, server.address)
        page = watched.page
        page.goto("/")
        page.get_by_role("link", name="API description").click()
        expect(page.locator(".opblock-summary-path")).to_have_text(
            ["/v1/predict", "/v1/gradcam", "/v1/model", "/metrics", "/healthz", "/readyz"]
        )
        expect(page.locator(".opblock-tag a")).to_have_text(["Pictures", "Models", "Operation"])
        expect(page.locator(".information-container pre code")).to_contain_text(
            '-H "Authorization: Bearer $KEY" -F files=@cat.jpg'
        )
        page.get_by_role("button", name="Authorize").click()
        page.locator(".auth-container input").fill(KEY)
        page.locator(".auth-btn-wrapper .authorize").click()
        page.locator(".btn-done").click()
        operation = page.locator(".opblock", has_text="/v1/model")
        operation.locator(".opblock-summary-control").click()
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        expect(operation.locator(".live-responses-table .response-col_status").last).to_have_text(
            "200"
        )
        expect(operation.locator(".live-responses-table")).to_contain_text("class_names")
        watched.close(expected="401")  # of the first page, before its key
