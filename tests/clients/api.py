"""Holds the daemon against its own OpenAPI document: `api.py JARVIS`, with the path of the binary.

Starts `jarvis demo` twenty times as fast as the world, lets things happen until there are incidents of both kinds,
puts in what the demo does not make (actions, rows as the original JARVIS wrote them), and lets schemathesis ask
everything that the document says may be asked, and more. It must find nothing.
"""

import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import time

import requests

HERE = pathlib.Path(__file__).parent
# Enough for every parameter by itself and in pairs; the run takes half a minute. Every check is on by default.
EXAMPLES, SEED = 20, 7
# The demo's, and a user whom nobody needs.
PASSWORD, SPARE = "demo", "spare"
# What must have been done by operators in a run, by the journal's words: calls that are always refused show nothing.
DONE = {
    "userAdded", "userChanged", "userRemoved", "passwordSet", "tokenAdded", "tokenRevoked", "killSwitch", "autonomyLevel",
}  # fmt: skip
# Whom and what this run makes for itself.
OWN = re.compile(rf"(goes|goes-\d+|shows-\d+|{SPARE})$")
STARTS_WITHIN, HAPPENS_WITHIN, ENDS_WITHIN = 30, 120, 20

ACTION = """INSERT INTO autonomy_actions (timestamp, incident_key, incident_id, runbook_id, condition, action,
    action_args, result, autonomy_level, node, cluster) VALUES (datetime('now'), 'VM_CRASHED:' || ?1,
    '00000000-0000-8000-8000-000000000001', 'vm-crashed-restart', 'VM_CRASHED', 'start_vm', ?2, ?3, 3, 'pve1', 'demo')"""
ORIGINAL = """INSERT INTO events (timestamp, type, severity, source, node, summary, details, resolved)
    VALUES (?1, 'alert', 'warning', 'monitor', 'pve1', '[Monitor] Old: told by another program', ?2, 0)"""

# What the document cannot say: a call that is well formed may still be refused with 400, for what there is. Everything
# else is checked of these calls as well.
LEFT = "".join(
    f"""
        [[operations]]
        include-method = "{method}"
        include-path = "{path}"
        checks.positive_data_acceptance.enabled = false
    """
    for method, path in [
        # Which guests and nodes there are, and how they are.
        ("POST", "/api/tools/execute"),
        # Whether an incident ends it.
        ("POST", "/api/v1/events/{seq}/resolve"),
        # What the keys of the autonomy may hold.
        ("PUT", "/api/memory/preferences/{key}"),
        # That a password has 8 bytes, which is not a number of characters.
        ("POST", "/api/v1/users/{name}/password"),
        # That, and which clusters are watched.
        ("POST", "/api/v1/users"),
        ("PATCH", "/api/v1/users/{name}"),
        # Which clusters are watched, whose it may be, and that it ends in the future.
        ("POST", "/api/v1/tokens"),
        # What can be meant by a subject, which zones there are, and when something ends.
        ("POST", "/api/v1/maintenance"),
        ("POST", "/api/v1/silences"),
    ]
)


def main(binary):
    with tempfile.TemporaryFile("w+") as said:
        jarvis = subprocess.Popen(
            [binary, "--log", "error", "demo", "--listen", "127.0.0.1:0", "--speed", "20"], stdout=said, stdin=subprocess.DEVNULL
        )
        try:
            return run(jarvis, said)
        finally:
            jarvis.terminate()
            jarvis.wait(ENDS_WITHIN)


def run(jarvis, said):
    hello = wait("the demo to start", STARTS_WITHIN, lambda: told(jarvis, said, r"sockets +(http://\S+)"))
    base = hello.group(1)
    database = told(jarvis, said, r"database +(\S+)").group(1)
    # A login: an API token may not make users, tokens and passwords, and then nothing of these calls would be seen.
    token = requests.post(base + "/api/auth/login", json={"password": PASSWORD}, timeout=10).json()["token"]
    session = requests.Session()
    session.headers["Authorization"] = "Bearer " + token
    session.post(
        base + "/api/v1/users", json={"name": SPARE, "role": "operator", "password": "a good password"}, timeout=10
    ).raise_for_status()
    ask = lambda path: session.get(base + path, timeout=10).json()
    incident = wait(
        "an incident that is over", HAPPENS_WITHIN, lambda: next(iter(ask("/api/v1/incidents?state=resolved")["items"]), None)
    )
    guest = wait("the guests", HAPPENS_WITHIN, lambda: ask("/api/v1/guests")["items"])[0]
    fill(database)
    config = f"""
        [parameters]
        "path.cluster" = "demo"
        "path.node" = "{guest['node']}"
        "path.kind" = "{guest['kind']}"
        "path.vmid" = {guest['vmid']}
        "path.id" = "{incident['id']}"
        "path.name" = "{SPARE}"
        "path.seq" = 1
    """ + LEFT
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(config)
        file.flush()
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", file.name, "run", base + "/api/v1/openapi.json",
            "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES), "--seed", str(SEED),
        ]  # fmt: skip
        environment = os.environ | {
            "JARVIS_URL": base,
            "JARVIS_TOKEN": token,
            "JARVIS_PASSWORD_OF_DEMO": PASSWORD,
            "JARVIS_SPARE": SPARE,
            "JARVIS_INCIDENT": incident["id"],
            "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
            "PYTHONPATH": str(HERE),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with tempfile.TemporaryDirectory() as folder:
            found = subprocess.run(command, env=environment, cwd=folder).returncode
    # A run that asked nothing finds nothing, and neither does one that was refused everything.
    health = ask("/api/v1/health")
    assert health["store"]["status"] == "ok", health
    rows = [row["entry"] for row in journal(session, base) if row["kind"] == "operator"]
    # What the hooks make, to be removed, was not made by the calls that are looked at.
    own = lambda row: row["did"].endswith("Added") and OWN.match(row["what"].get("name") or row["what"]["user"])
    did = {row["did"] for row in rows if not own(row)}
    assert DONE <= did, f"never done: {sorted(DONE - did)}"
    return found


def journal(session, base):
    cursor = {}
    while True:
        page = session.get(base + "/api/v1/journal", params={"limit": 1000, **cursor}, timeout=10).json()
        yield from page["items"]
        if not page.get("next"):
            return
        cursor = {"cursor": page["next"]}


def fill(database):
    with sqlite3.connect(database, timeout=10) as hand:
        for number, result in enumerate(["success", "failure", "blocked", "escalated"]):
            hand.execute(ACTION, (100 + number, '{"vmid": %d}' % (100 + number), result))
        for at, details in [("2024-03-05 11:08:00", "no JSON {"), ("yesterday", "[1, 2]"), ("2024-03-05", None)]:
            hand.execute(ORIGINAL, (at, details))


def told(jarvis, said, pattern):
    if jarvis.poll() is not None:
        raise SystemExit("the demo ended by itself")
    said.seek(0)
    return re.search(pattern, said.read())


def wait(what, seconds, ask):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := ask():
            return answer
        time.sleep(0.2)
    raise SystemExit(f"waited {seconds} s for {what}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
