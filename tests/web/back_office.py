"""What people do in the back office, by clicks."""

from tests.support.stacks import RunningStack
from tests.web.browser import Tab


def log_in(tab: Tab, stack: RunningStack, username: str) -> None:
    password = next(user["password"] for user in stack["users"] if user["username"] == username)
    tab.page.goto("/admin/")
    tab.page.fill("input[name=username]", username)
    tab.page.fill("input[name=password]", password)
    tab.page.click("button[type=submit]")
    tab.page.wait_for_url("**/admin/")


def approve_latest(tab: Tab, stack: RunningStack) -> None:
    """As the compliance officer: the newest request, after a look at what it changes."""
    log_in(tab, stack, "compliance")
    tab.page.goto("/admin/institutions/changerequest/")
    tab.page.locator(".bo table tbody a").first.click()
    tab.page.get_by_role("link", name="Approve", exact=True).click()
    tab.page.get_by_label("Reason").fill("seen")
    tab.page.get_by_role("button", name="Approve").click()
    tab.page.wait_for_selector(".bo-badge:text('approved')")
