"""What schemathesis cannot know of the calls that it makes.

A cursor is opaque: only one that the list itself gave is taken, and every other is a 400. So where it would send some
text of the right length, it sends one that the list gave; those of a wrong length or kind stay as they are.

Some calls end what the whole run logs in with, or something that is there once; see each.
"""

import functools
import itertools
import os

import requests
import schemathesis

ADMIN, NOBODY = "admin", "nobody-of-that-name"
LOGOUTS = [("POST", "/api/auth/logout"), ("DELETE", "/api/v1/session")]
NUMBERS = itertools.count()


@functools.cache
def browser():
    """Known by its cookie from its first login on: what is guessed beside it takes none of its tries."""
    return requests.Session()


def log_in():
    answer = browser().post(
        os.environ["JARVIS_URL"] + "/api/auth/login", json={"password": os.environ["JARVIS_PASSWORD_OF_DEMO"]}, timeout=10
    )
    answer.raise_for_status()
    return answer.json()["token"]


def tell(path, body):
    headers = {"Authorization": "Bearer " + os.environ["JARVIS_TOKEN"]}
    answer = requests.post(os.environ["JARVIS_URL"] + path, json=body, headers=headers, timeout=10)
    answer.raise_for_status()
    return answer.json()


@schemathesis.auth(refresh_interval=None)
class Login:
    def get(self, case, context):
        # What ends its login has one of its own.
        return log_in() if (case.method, case.path) in LOGOUTS else os.environ["JARVIS_TOKEN"]

    def set(self, case, data, context):
        case.headers["Authorization"] = "Bearer " + data


@functools.cache
def given(base, path):
    """A cursor of this list, or None where it has but one page."""
    headers = {"Authorization": "Bearer " + os.environ["JARVIS_TOKEN"]}
    return requests.get(base + path, params={"limit": 1}, headers=headers, timeout=10).json().get("next")


def spare(case):
    """Nobody whom the run needs is changed, and what goes is made for it."""
    names = case.path_parameters or {}
    if case.path.startswith("/api/v1/users/") and names.get("name") == ADMIN:
        names["name"] = NOBODY
    if case.method != "DELETE":
        return
    if case.path == "/api/v1/users/{name}" and names.get("name") == os.environ["JARVIS_SPARE"]:
        names["name"] = f"goes-{next(NUMBERS)}"
        tell("/api/v1/users", {"name": names["name"], "role": "viewer"})
    if case.path == "/api/v1/tokens/{id}" and names.get("id") == os.environ["JARVIS_INCIDENT"]:
        user = f"shows-{next(NUMBERS)}"
        tell("/api/v1/users", {"name": user, "role": "viewer"})
        names["id"] = tell("/api/v1/tokens", {"name": "goes", "user": user})["token"]["id"]
    for path in ["/api/v1/maintenance", "/api/v1/silences"]:
        if case.path == path + "/{id}" and names.get("id") == os.environ["JARVIS_INCIDENT"]:
            names["id"] = tell(path, {"subject": "cluster", "minutes": 60})["id"]


def announced(case):
    """Of what may be said most texts mean nothing; half of them are made to mean something, so that more than refusals is seen."""
    body = case.body
    if case.method != "POST" or case.path not in ["/api/v1/maintenance", "/api/v1/silences"] or not isinstance(body, dict):
        return
    if next(NUMBERS) % 2 or not isinstance(body.get("subject"), str):
        return
    body["subject"] = "tag:web"
    for key in ["from", "until", "days", "at", "zone", "condition", "note"]:
        body.pop(key, None)
    if isinstance(body.get("minutes"), int):
        body["minutes"] = 5


def watched(case):
    """Which clusters are watched is not in the document; every other one is a 400."""
    body = case.body
    if case.method != "POST" or not isinstance(body, dict):
        return
    if isinstance(body.get("cluster"), str):
        body["cluster"] = "demo"
    args = body.get("args")
    if isinstance(args, dict) and isinstance(args.get("cluster"), str):
        args["cluster"] = "demo"


@schemathesis.hook
def before_call(context, case, **kwargs):
    spare(case)
    announced(case)
    watched(case)
    cursor = (case.query or {}).get("cursor")
    if not isinstance(cursor, str) or not 1 <= len(cursor) <= 400:
        return
    path = case.path.replace("{cluster}", "demo")
    real = given(os.environ["JARVIS_URL"], path)
    if real is None:
        del case.query["cursor"]
    else:
        case.query["cursor"] = real
