"""What schemathesis cannot know of the calls that it makes.

A cursor is opaque: only one that the list itself gave is taken, and every other is a 400. So where it would send some
text of the right length, it sends one that the list gave; those of a wrong length or kind stay as they are.
"""

import functools
import os

import requests
import schemathesis


@functools.cache
def given(base, path):
    """A cursor of this list, or None where it has but one page."""
    headers = {"Authorization": "Bearer " + os.environ["JARVIS_TOKEN"]}
    return requests.get(base + path, params={"limit": 1}, headers=headers, timeout=10).json().get("next")


@schemathesis.hook
def before_call(context, case, **kwargs):
    cursor = (case.query or {}).get("cursor")
    if not isinstance(cursor, str) or not 1 <= len(cursor) <= 400:
        return
    path = case.path.replace("{cluster}", "demo")
    real = given(os.environ["JARVIS_URL"], path)
    if real is None:
        del case.query["cursor"]
    else:
        case.query["cursor"] = real
