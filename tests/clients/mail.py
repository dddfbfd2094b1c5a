"""Mail and webhooks against servers that are not ours: `mail.py JARVIS`, with the path of the binary.

The real binary watches a simulated cluster in which a machine crashes that no start mends. The mail server is aiosmtpd,
with STARTTLS and a login; the webhook's signature is checked by the standard's own library. Three attempts fail, people
are called exactly once and with the whole story, although the mail server is down when it happens; the end is told, too;
a refused address holds up no other.
"""

import contextlib
import datetime
import email
import email.policy
import http.server
import ipaddress
import json
import logging
import pathlib
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook

PASSWORD, SECRET = "a-password-of-mail", "whsec_" + "c2VjcmV0LW9mLXRoZS13ZWJob29rLTMyLWJ5dGVzIQ=="
ADMIN, REFUSED = "admin@example.org", "nobody@example.org"
TOKEN = "jarvis@pve!act=a-token"
WITHIN_S = 90

CLUSTER = """nodes pve1 pve2 pve3
guest qemu/101 web01 on pve1 running onboot
at 24:00:00 end
"""

CONFIG = """
[server]
listen = "127.0.0.1:0"
public_url = "https://jarvis.example.org/"
[store]
path = "{folder}/jarvis.db"
tape_days = 0
[autonomy]
level = 3
[tiers]
critical = "2s"
[[cluster]]
name = "lab"
endpoints = ["{endpoint}"]
token_id = "jarvis@pve!act"
token_secret_env = "LAB_SECRET"
ca_file = "{folder}/cluster.pem"
[[runbook]]
id = "vm-crashed-restart"
cooldown = "10s"
grace = "0s"
first_look = "1s"
verify_for = "1s"
verify_within = "10s"
[mail]
host = "127.0.0.1"
port = {smtp}
from = "Jarvis <jarvis@example.org>"
to = ["{admin}", "{refused}"]
user = "jarvis"
password_file = "{folder}/{password}"
ca_file = "{folder}/mail.pem"
[[webhook]]
name = "pager"
url = "http://127.0.0.1:{hook}/hooks/jarvis"
secret_env = "HOOK_SECRET"
"""


def certificate(folder):
    """An authority of our own (mail.pem), and what the mail server shows."""
    now = datetime.datetime.now(datetime.timezone.utc)
    name = lambda text: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def build(subject, issuer, key, signer, *extensions):
        built = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
        built = built.public_key(key.public_key()).serial_number(x509.random_serial_number())
        built = built.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        for extension in extensions:
            built = built.add_extension(extension, critical=False)
        return built.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, leaf = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (folder / "mail.pem").write_bytes(build("ours", "ours", root, root, x509.BasicConstraints(ca=True, path_length=None)))
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    (folder / "leaf.pem").write_bytes(build("mail", "ours", leaf, root, alternative))
    (folder / "leaf.key").write_bytes(
        leaf.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem", folder / "leaf.key")
    return context


class Inbox:
    """What a mail server does with what it is handed."""

    def __init__(self):
        self.mails, self.refused = [], 0

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address == REFUSED:
            self.refused += 1
            return "550 5.1.1 nobody lives here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        assert session.ssl is not None, "it came in clear"
        assert session.authenticated, "nobody logged in"
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 2.0.0 taken as 4711"

    def to(self, address, part=""):
        return [mail for tos, mail in self.mails if tos == [address] and part in mail["Subject"]]


def smtp(inbox, port, context):
    def login(server, session, envelope, mechanism, data):
        good = (data.login, data.password) == (b"jarvis", PASSWORD.encode())
        return AuthResult(success=good, handled=False)

    return Controller(
        inbox, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True, auth_required=True, authenticator=login
    )


class Hooks(http.server.ThreadingHTTPServer):
    """Takes calls that are signed, all but the first."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Hook)
        self.calls, self.turned_away = [], []

    def of(self, kind):
        return [body for _, body in self.calls if body["type"] == kind]


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        # Throws where the signature or the time is wrong.
        Webhook(SECRET).verify(body, {key.lower(): value for key, value in self.headers.items()})
        identity = self.headers["webhook-id"]
        if not self.server.turned_away:
            self.server.turned_away.append(identity)
            self.send_response(503)
        else:
            self.server.calls.append((identity, json.loads(body)))
            self.send_response(204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(what, done):
    deadline = time.monotonic() + WITHIN_S
    while True:
        found = done()
        if found:
            return found
        assert time.monotonic() < deadline, f"it never came: {what}"
        time.sleep(0.1)


@contextlib.contextmanager
def running(command, **options):
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def main(jarvis):
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        (folder / "cluster.txt").write_text(CLUSTER)
        for file, content in [("good", PASSWORD), ("wrong", "another")]:
            (folder / file).write_text(content)
            (folder / file).chmod(0o600)
        context, inbox, hooks = certificate(folder), Inbox(), Hooks()
        threading.Thread(target=hooks.serve_forever, daemon=True).start()
        stack.callback(hooks.shutdown)
        node = f"127.0.0.1:{free_port()}"
        served = stack.enter_context(
            running(
                [jarvis, "sim", "--scenario", folder / "cluster.txt", "--listen", node, "--token", TOKEN,
                 "--ca-file", folder / "cluster.pem", "--control", "127.0.0.1:0"],
                stdout=subprocess.PIPE,
            )
        )  # fmt: skip
        lines = [served.stdout.readline().split() for _ in range(4)]
        endpoint, control = lines[0][1], lines[3][1]
        port = free_port()

        def config(password):
            file = folder / f"jarvis-{password}.toml"
            file.write_text(
                CONFIG.format(
                    folder=folder, endpoint=endpoint, smtp=port, admin=ADMIN, refused=REFUSED, password=password,
                    hook=hooks.server_port,
                )
            )  # fmt: skip
            return file

        environment = {"LAB_SECRET": "a-token", "HOOK_SECRET": SECRET}
        log = (folder / "log").open("w")
        stack.enter_context(running([jarvis, "run", "--config", config("good")], env=environment, stderr=log))
        try:
            story(jarvis, folder, config, environment, control, inbox, hooks, context, port)
        except BaseException:
            print((folder / "log").read_text(), file=sys.stderr)
            raise
        for secret in [PASSWORD, SECRET]:
            assert secret not in (folder / "log").read_text(), "the log shows a secret"


def story(jarvis, folder, config, environment, control, inbox, hooks, context, port):
    def happens(line):
        with urllib.request.urlopen(f"{control}/script", data=line.encode(), timeout=10) as reply:
            assert reply.status == 200, reply.read()

    def rows(sql):
        with contextlib.closing(sqlite3.connect(folder / "jarvis.db", timeout=10)) as store:
            return store.execute(sql).fetchall()

    def try_out(password, *arguments):
        command = [jarvis, "notify-test", "--config", config(password), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    until("the daemon sees the cluster", lambda: "1 of 1 guests running" in (folder / "log").read_text())
    happens("break qemu/101")
    happens("crash qemu/101")
    # The mail server is down when people are called; programs hear of it meanwhile.
    until("people are called", lambda: rows("SELECT 1 FROM autonomy_actions WHERE escalated = 1"))
    until("the webhook is called", lambda: hooks.of("jarvis.call"))
    until("the mail server was missed", lambda: rows("SELECT 1 FROM outbox_channels WHERE name LIKE 'mail:%' AND failures > 0"))
    assert rows("SELECT email_sent FROM autonomy_actions WHERE escalated = 1") == [(0,)], "it says what was only hoped"
    server = smtp(inbox, port, context)
    server.start()
    try:
        # A wrong password: said, with the server's own words.
        wrong = try_out("wrong", "--only", f"mail:{ADMIN}")
        assert wrong.returncode == 1 and "535" in wrong.stdout and "does not let us log in" in wrong.stdout, wrong
        assert "another" not in wrong.stdout + wrong.stderr, "it shows the password"
        test = try_out("good", "--only", f"mail:{ADMIN}")
        assert test.returncode == 0 and "taken as 4711" in test.stdout, test
        call = until("the call", lambda: inbox.to(ADMIN, "NEEDS YOU"))[0]
        until("that it says so", lambda: rows("SELECT email_sent FROM autonomy_actions WHERE escalated = 1") == [(1,)])
        until("the refusal", lambda: rows("SELECT 1 FROM events WHERE title = 'A mail channel refuses something'"))
        happens("mend qemu/101")
        happens("start qemu/101 by alice@pve")
        until("the end", lambda: inbox.to(ADMIN, "over"))
        until("the report of what happened", lambda: inbox.to(ADMIN, "events"))
        time.sleep(1)
    finally:
        server.stop()

    whole_story(call, rows)
    identities = [mail["Message-ID"] for _, mail in inbox.mails]
    assert len(set(identities)) == len(identities), f"one came twice: {identities}"
    subjects = sorted(mail["Subject"] for mail in inbox.to(ADMIN))
    assert len(subjects) == 4, f"a test, the call, its end and one report, and nothing else: {subjects}"
    report = inbox.to(ADMIN, "events")[0].get_body(("plain",)).get_content()
    for told in ["VM web01 (101) crashed", "Remediation failed: VM_CRASHED on pve1"]:
        assert told in report, report
    # Who is refused is told about to the others, once.
    told = rows("SELECT title, resolved FROM events WHERE title LIKE 'A mail channel %'")
    assert told == [("A mail channel refuses something", 0)], told
    assert not rows(f"SELECT 1 FROM events WHERE title || message LIKE '%{REFUSED}%' OR message LIKE '%nobody lives%'")
    assert inbox.refused >= 1 and not inbox.to(REFUSED)

    # The first call was turned away: the same message came again.
    assert hooks.turned_away[0] in [identity for identity, _ in hooks.calls]
    identities = [identity for identity, _ in hooks.calls]
    assert len(set(identities)) == len(identities), f"one came twice: {identities}"
    [called, over] = [body["data"]["events"] for body in hooks.of("jarvis.call")]
    assert called[0]["condition"] == "VM_CRASHED" and not called[0]["over"] and over[0]["over"], (called, over)
    assert [step["kind"] for step in called[0]["story"]].count("acting") == 3, called
    waits = rows("SELECT DISTINCT channel, urgency FROM outbox WHERE delivered_ms IS NULL AND gave_up_ms IS NULL")
    # What was told after the one report waits for the next, which is minutes away.
    may_wait = {(f"mail:{REFUSED}", "call"), (f"mail:{REFUSED}", "report"), (f"mail:{ADMIN}", "report")}
    assert set(waits) <= may_wait, f"all others have all of it: {waits}"
    assert (f"mail:{REFUSED}", "call") in waits, "a call was given up for a refusal"


def whole_story(call, rows):
    """Everything that the journal has of it until then, as text and as HTML."""
    [[incident]] = rows("SELECT incident_id FROM autonomy_actions WHERE escalated = 1")
    assert call["To"] == ADMIN and call["Auto-Submitted"] == "auto-generated", call.items()
    assert call["Subject"] == "JARVIS NEEDS YOU: lab: VM_CRASHED web01 (qemu/101) on pve1", call["Subject"]
    assert call["Message-ID"].endswith("@example.org>"), call["Message-ID"]
    assert call.get_content_type() == "multipart/alternative"
    for kind in ["plain", "html"]:
        body = call.get_body((kind,)).get_content()
        for part in [
            f"https://jarvis.example.org/incidents/{incident}",
            "attempt 1 of 3", "attempt 2 of 3", "attempt 3 of 3",
            "does not exist", "3 attempts within", f"jarvis approve {incident}",
        ]:  # fmt: skip
            assert part in body, f"{kind} lacks {part}: {body}"
        for step in ["opened", "acting", "acted", "missed", "escalated"]:
            assert step in body, f"{kind} lacks {step}: {body}"


if __name__ == "__main__":
    # It warns of its own parts at each login.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    began = time.monotonic()
    main(sys.argv[1])
    print(f"mail and webhooks: told, each once ({time.monotonic() - began:.0f} s)")
