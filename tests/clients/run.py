#!/usr/bin/env python3
"""Clients that are not ours against the simulated cluster: proxmoxer and prometheus-pve-exporter.

What they were written for is a real Proxmox VE, so what they accept of the simulator is evidence that it is one to
its callers. Nothing of them is changed or patched.

Environment: SIM_ENDPOINTS (https://127.0.0.1:PORT of each node, comma-separated), SIM_CA (the CA's file), SIM_CONTROL
(http://127.0.0.1:PORT), SIM_OPERATOR and SIM_AUDITOR (ID=SECRET of two tokens), JARVIS_BIN (the binary whose metrics
are held against the exporter's).
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families
from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException
from proxmoxer.tools import Tasks

ENDPOINTS = [url.removeprefix("https://") for url in os.environ["SIM_ENDPOINTS"].split(",")]
CA = os.environ["SIM_CA"]
CONTROL = os.environ["SIM_CONTROL"]
OPERATOR = os.environ["SIM_OPERATOR"]
AUDITOR = os.environ["SIM_AUDITOR"]
PATIENCE_S = 30


def api(token):
    """A client of the first node, with a token given as USER@REALM!NAME=SECRET."""
    identity, secret = token.split("=", 1)
    user, name = identity.split("!", 1)
    return ProxmoxAPI(ENDPOINTS[0], user=user, token_name=name, token_value=secret, verify_ssl=CA)


def control(line):
    """Makes a line of the scenario language happen."""
    request = urllib.request.Request(f"{CONTROL}/script", data=line.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200, reply.read()


def until(what, done):
    """Waits until something is so, and gives it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = done()
        if found:
            return found
        assert time.monotonic() < deadline, f"it never came: {what}"
        time.sleep(0.2)


def refused(call):
    """The status and the text of a refusal."""
    try:
        answer = call()
    except ResourceException as error:
        return error.status_code, error.content
    raise AssertionError(f"expected a refusal, got {answer!r}")


def test_proxmoxer_lists():
    pve = api(AUDITOR)
    assert pve.version.get()["release"] == "9.2"
    assert sorted(node["node"] for node in pve.nodes.get()) == ["pve1", "pve2", "pve3"]
    guests = {row["id"]: row for row in pve.cluster.resources.get(type="vm")}
    assert len(guests) == 7 and guests["qemu/100"]["status"] == "running", guests
    assert guests["qemu/100"]["tags"] == "prod;web"
    machines = {row["vmid"]: row["status"] for row in pve.nodes("pve1").qemu.get()}
    assert machines == {100: "running", 101: "running", 102: "stopped", 104: "stopped", 105: "stopped"}, machines
    # Proxied to another node.
    assert [row["vmid"] for row in pve.nodes("pve2").lxc.get()] == [200]
    assert pve.nodes("pve1").qemu(100).config.get()["onboot"] == 1
    assert pve.access.permissions.get()["/"]["VM.Audit"] == 1


def test_proxmoxer_starts_and_follows_the_task():
    pve = api(OPERATOR)
    upid = pve.nodes("pve1").qemu(104).status.start.post()
    task = Tasks.blocking_status(pve, upid, timeout=PATIENCE_S, polling_interval=0.1)
    assert (task["status"], task["exitstatus"]) == ("stopped", "OK"), task
    live = pve.nodes("pve1").qemu(104).status.current.get()
    assert live["status"] == "running" and live["pid"] > 0, live
    log = pve.nodes("pve1").tasks(upid).log.get()
    assert log[-1]["t"] == "TASK OK", log
    # The failure of another one is in its task.
    upid = pve.nodes("pve1").qemu(105).status.start.post()
    task = Tasks.blocking_status(pve, upid, timeout=PATIENCE_S, polling_interval=0.1)
    assert task["exitstatus"] == "VM is locked (backup)", task
    decoded = Tasks.decode_upid(upid)
    assert (decoded["node"], decoded["type"], decoded["id"]) == ("pve1", "qmstart", "105"), decoded
    assert decoded["user"] == "op@pve", decoded


def test_proxmoxer_meets_refusals():
    pve, mon = api(OPERATOR), api(AUDITOR)
    status, text = refused(lambda: mon.nodes("pve1").qemu(104).status.stop.post())
    assert (status, text) == (403, "Permission check failed (/vms/104, VM.PowerMgmt)")
    status, text = refused(lambda: pve.nodes("pve1").qemu(999).status.current.get())
    assert (status, text) == (500, "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist")
    status, text = refused(lambda: pve.nodes("pve2").lxc(200).status.start.post())
    assert (status, text) == (500, "CT 200 already running")
    status, text = refused(lambda: pve.nosuch.get())
    assert (status, text) == (501, "Method 'GET /nosuch' not implemented")
    control("kill-node pve3")
    status, text = refused(lambda: pve.nodes("pve3").qemu.get())
    assert (status, text) == (595, "No route to host")
    until("pve3 is offline", lambda: {n["node"]: n["status"] for n in pve.nodes.get()}["pve3"] == "offline")
    control("start-node pve3")


def metric(text, metric_name, /, **labels):
    """The value of the one line of a metric that has these labels (`name` is one of them)."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(rf"{metric_name}\{{(.*)\}} (\S+)", line)
        if match and all(f'{key}="{value}"' in match[1] for key, value in labels.items()):
            found.append(float(match[2]))
    assert len(found) == 1, f"{metric_name} {labels}: {len(found)} lines"
    return found[0]


def exporter_says():
    """What prometheus-pve-exporter tells of the cluster, and what it wrote to its standard error."""
    identity, secret = AUDITOR.split("=", 1)
    user, name = identity.split("!", 1)
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "pve.yml")
        lines = ["default:", f"  user: {user}", f"  token_name: {name}", f"  token_value: {secret}"]
        config.write_text("\n".join([*lines, f"  verify_ssl: {CA}", ""]), encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            listen = f"127.0.0.1:{probe.getsockname()[1]}"
        program = pathlib.Path(sys.executable).with_name("pve_exporter")
        command = [str(program), "--config.file", str(config), "--web.listen-address", listen]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as exporter:
            try:
                url = f"http://{listen}/pve?target={ENDPOINTS[0]}&cluster=1&node=1"
                text = until("the exporter answers", lambda: scrape(url))
            finally:
                exporter.terminate()
                _, errors = exporter.communicate(timeout=PATIENCE_S)
    return text, errors


def test_prometheus_pve_exporter():
    text, errors = exporter_says()
    assert b"Traceback" not in errors, errors.decode()
    assert metric(text, "pve_up", id="qemu/100") == 1
    assert metric(text, "pve_up", id="qemu/105") == 0
    assert metric(text, "pve_up", id="node/pve1") == 1
    assert metric(text, "pve_up", id="cluster/lab") == 1
    assert metric(text, "pve_guest_info", id="qemu/100", name="web01", node="pve1", type="qemu", tags="prod;web") == 1
    assert metric(text, "pve_guest_info", id="lxc/200", name="dns", node="pve2", type="lxc") == 1
    assert metric(text, "pve_node_info", id="node/pve1", name="pve1") == 1
    assert metric(text, "pve_cluster_info", id="cluster/lab", nodes="3", quorate="1") == 1
    assert metric(text, "pve_version_info", release="9.2") == 1
    assert metric(text, "pve_ha_state", id="qemu/101", state="started") == 1
    assert metric(text, "pve_lock_state", id="qemu/105", state="backup") == 1
    assert metric(text, "pve_storage_shared", id="storage/pve1/nfs") == 1
    used, size = (metric(text, f"pve_disk_{what}_bytes", id="storage/pve1/nfs") for what in ("usage", "size"))
    assert 0.39 < used / size < 0.41, (used, size)
    assert metric(text, "pve_memory_usage_bytes", id="qemu/100") > 0
    assert metric(text, "pve_uptime_seconds", id="node/pve1") > 0
    assert metric(text, "pve_onboot_status", id="qemu/100") == 1
    assert metric(text, "pve_not_backed_up_total", id="cluster/lab") == 7


def series(text):
    """{(name, labels): value} and {name: type} of all that begins with pve_. A series twice is an error."""
    values, types = {}, {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.startswith("pve_"):
                continue
            labels = {key: value for key, value in sample.labels.items() if key != "cluster"}
            key = (sample.name, tuple(sorted(labels.items())))
            assert key not in values, key
            values[key] = sample.value
            types[sample.name] = family.type
    return values, types


# What moves between two looks: by how much it may differ.
MOVES = {
    "pve_cpu_usage_ratio": 1.0,
    "pve_memory_usage_bytes": 2**30,
    "pve_uptime_seconds": 600,
    "pve_network_receive_bytes_total": 1e9,
    "pve_network_transmit_bytes_total": 1e9,
}
# What the exporter tells and Jarvis does not: it does not ask for it, or the name is one of the deprecated.
NOT_OURS = {
    "pve_disk_read_bytes", "pve_disk_read_bytes_total", "pve_disk_write_bytes", "pve_disk_written_bytes_total",
    "pve_network_receive_bytes", "pve_network_transmit_bytes", "pve_not_backed_up_info", "pve_not_backed_up_total",
    "pve_onboot_status", "pve_version_info", "pve_replication_info", "pve_subscription_info",
    "pve_subscription_status", "pve_subscription_next_due_timestamp_seconds",
}


def test_jarvis_has_the_names_of_the_exporter():
    jarvis = os.environ.get("JARVIS_BIN")
    assert jarvis, "JARVIS_BIN is the binary to be compared"
    identity, secret = AUDITOR.split("=", 1)
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "secret").touch(0o600)
        pathlib.Path(folder, "secret").write_text(secret, encoding="utf-8")
        urls = ", ".join(f'"https://{endpoint}"' for endpoint in ENDPOINTS)
        config = pathlib.Path(folder, "jarvis.toml")
        lines = [
            "[server]", 'listen = "127.0.0.1:0"', "[store]", f'path = "{folder}/jarvis.db"', "[[cluster]]",
            'name = "lab"', f"endpoints = [{urls}]", f'token_id = "{identity}"',
            f'token_secret_file = "{folder}/secret"', f'ca_file = "{CA}"', "",
        ]
        config.write_text("\n".join(lines), encoding="utf-8")
        environment = {**os.environ, "JARVIS_PASSWORD": "clients"}
        command = [jarvis, "run", "--config", str(config)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as daemon:
            try:
                address = None
                while not address:
                    line = daemon.stderr.readline()
                    assert line, "jarvis ended before it listened"
                    address = re.search(r"listening.*address=(\S+)", line)
                threading.Thread(target=daemon.stderr.read, daemon=True).start()
                url = f"http://{address[1]}"
                assert refused_metrics(url) == 401
                body = json.dumps({"password": "clients"}).encode()
                kind = {"Content-Type": "application/json"}
                login = urllib.request.Request(f"{url}/api/auth/login", data=body, headers=kind, method="POST")
                with urllib.request.urlopen(login, timeout=PATIENCE_S) as reply:
                    token = json.load(reply)["token"]
                ours = until("jarvis sees the cluster", lambda: seen_metrics(url, token))
            finally:
                daemon.terminate()
                daemon.wait(timeout=PATIENCE_S)
    check = subprocess.run(["promtool", "check", "metrics"], input=ours, capture_output=True, text=True, check=False)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", ""), check
    theirs, _ = exporter_says()
    (ours, our_types), (theirs, their_types) = series(ours), series(theirs)
    assert len(ours) > 100, len(ours)
    for key, value in ours.items():
        assert key in theirs, f"{key} is none of the exporter's"
        assert abs(value - theirs[key]) <= MOVES.get(key[0], 0), f"{key}: {value}, the exporter says {theirs[key]}"
    assert our_types == {name: their_types[name] for name in our_types}, our_types
    for key, value in theirs.items():
        # Of guests that HA does not manage, or that no lock holds, the exporter says so in twenty lines each.
        unsaid = key[0] in ("pve_ha_state", "pve_lock_state") and value == 0
        # Pools are no subjects of ours.
        pool = dict(key[1]).get("id", "").startswith("/pool/")
        assert key in ours or key[0] in NOT_OURS or unsaid or pool, f"{key} is missing"


def refused_metrics(url):
    """The status of a scrape without a token."""
    try:
        with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE_S) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def seen_metrics(url, token):
    """The metrics, or nothing while the cluster is not seen yet."""
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = reply.read().decode()
    whole = 'jarvis_cluster_seen{cluster="lab"} 1' in text and 'part="storages"' in text and "pve_cluster_info{" in text
    return text if whole and 'pve_guest_info{' in text else None


def scrape(url):
    """The metrics, or nothing while the exporter is not up yet."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as reply:
            return reply.read().decode()
    except ConnectionError:
        return None
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError:
        return None


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        test()
        print(f"{name} ... ok", flush=True)
    print(f"{len(tests)} passed")


if __name__ == "__main__":
    main()
