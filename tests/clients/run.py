#!/usr/bin/env python3
"""Clients that are not ours against the simulated cluster: proxmoxer and prometheus-pve-exporter.

What they were written for is a real Proxmox VE, so what they accept of the simulator is evidence that it is one to
its callers. Nothing of them is changed or patched.

Environment: SIM_ENDPOINTS (https://127.0.0.1:PORT of each node, comma-separated), SIM_CA (the CA's file), SIM_CONTROL
(http://127.0.0.1:PORT), SIM_OPERATOR and SIM_AUDITOR (ID=SECRET of two tokens).
"""

import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

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


def test_prometheus_pve_exporter():
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
