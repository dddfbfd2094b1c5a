//! Secrets that can be recognised, in every place where there is one: none of them comes out anywhere.
//!
//! The binary runs at TRACE against the simulated cluster and meets refusals, broken answers and untrusted certificates;
//! then its log, its answers, its files and what the system shows of it are searched. What belongs to the owner alone is
//! left out: the configuration, the files of the secrets, and the process's environment, which only they may read.

#![cfg(test)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use daemon::report::auth::{Auth, Password, UserName};
use daemon::{config::Config, supervise};
use jiff::Timestamp;
use sim::http::{Options, Server};

/// A secret's beginning: no other text has it.
const MARK: &str = "kanarie";

/// Each place and what is put there. Tokens of PVE are UUIDs; any text is one to it.
const INLINE: &str = "kanarie1-0000-4000-8000-inline";
const FILE: &str = "kanarie2-0000-4000-8000-file";
const ENV: &str = "kanarie3-0000-4000-8000-env";
const REFUSED: &str = "kanarie4-0000-4000-8000-refused";
const UNTRUSTED: &str = "kanarie5-0000-4000-8000-untrusted";
const PASSWORD: &str = "kanarie6-password";
const GUESS: &str = "kanarie7-guess";
const BEARER: &str = "kanarie8-bearer";
const COOKIE: &str = "kanarie9-cookie";
const QUERY: &str = "kanarie10-query";
const HEADER: &str = "kanarie11-header";
const HANDSHAKE: &str = "kanarie12-handshake";
const USERINFO: &str = "kanarie13-userinfo";
const CODE: &str = "kanarie14-setup-code";
const MAIL: &str = "kanarie15-mail-password";
const HOOK: &str = "kanarie16-webhook-secret-of-32-bytes";
const HOOK_PATH: &str = "kanarie17-path-of-the-webhook";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("jarvis-canary-{}-{name}", std::process::id()));
        std::fs::create_dir_all(path.join("given")).unwrap();
        Folder(path)
    }

    /// A file of the owner's, which is not searched.
    fn give(&self, name: &str, text: &str) -> String {
        let path = self.0.join("given").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

struct Jarvis {
    child: Child,
    log: PathBuf,
}

impl Jarvis {
    fn start(folder: &Folder, config: &str, password: Option<&str>) -> Jarvis {
        let log = folder.0.join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_jarvis"));
        command.args(["--log", "trace", "run", "--config", config]).env("RUST_BACKTRACE", "full");
        command.env("CANARY_SECRET", ENV).env("NO_COLOR", "1").env_remove("JARVIS_PASSWORD");
        if let Some(password) = password {
            command.env("JARVIS_PASSWORD", password);
        }
        let file = std::fs::File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Jarvis { child, log }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// The first line that holds the words.
    fn logged(&self, words: &str) -> String {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if let Some(line) = self.text().lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!(
            "no `{words}` in the log, which ends in\n{}",
            self.text().chars().rev().take(2000).collect::<Vec<_>>().into_iter().rev().collect::<String>()
        );
    }

    fn address(&self) -> String {
        self.logged("listening address=").split("address=").nth(1).unwrap().trim().to_owned()
    }
}

impl Drop for Jarvis {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
        }
        self.child.wait().ok();
    }
}

fn call(address: &str, call: &str, headers: &[String], body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "{call} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The canary that comes out, in plain text or as somebody encodes it on the way.
fn found(what: &str, secrets: &[&str]) -> Option<String> {
    let at =
        |form: &str| what.find(form).map(|at| what[..at].lines().next_back().unwrap_or_default().to_owned());
    for secret in secrets {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let bytes = format!("{:?}", secret.as_bytes());
        for form in [
            (*secret).to_owned(),
            STANDARD.encode(secret).trim_end_matches('=').to_owned(),
            URL_SAFE_NO_PAD.encode(secret),
            hex,
            bytes.trim_matches(['[', ']']).to_owned(),
            secret.to_uppercase(),
        ] {
            if let Some(line) = at(&form) {
                return Some(format!("{secret} as {form} after `{line}`"));
            }
        }
    }
    what.contains(MARK).then(|| format!("something with {MARK}"))
}

/// The beginning of a token of ours with what follows it, be it one that this test knows or not.
fn token_of_ours(what: &str) -> Option<String> {
    let secret = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    ["jrs_", "jrc_", "jrv_", "jrt_", "jrd_", "jarvis-local."].into_iter().find_map(|prefix| {
        let mut rests = what.split(prefix).skip(1);
        let rest = rests.find(|rest| rest.chars().take(16).filter(|c| secret(*c)).count() == 16)?;
        Some(format!("{prefix}{}", rest.chars().take(40).collect::<String>()))
    })
}

/// The secrets that the daemon makes itself and gives to somebody.
struct Made {
    api: String,
    cookie: String,
    device: String,
    csrf: String,
    ticket: String,
}

impl Made {
    /// A page's login with all that comes of it, and an API token.
    fn by(address: &str, good: &str) -> Made {
        let json = "Content-Type: application/json".to_owned();
        let body = format!(r#"{{"password":"{PASSWORD}"}}"#);
        let page = call(address, "POST /api/v1/session", std::slice::from_ref(&json), &body);
        let after = |text: &str, words: &str, end: &[char]| {
            let rest = text.split(words).nth(1).unwrap_or_else(|| panic!("no {words} in {text}"));
            rest.split(end).next().unwrap().to_owned()
        };
        let cookie = format!("jarvis={}", after(&page, "set-cookie: jarvis=", &[';']));
        let device = format!("jarvis-device={}", after(&page, "set-cookie: jarvis-device=", &[';']));
        let csrf = after(&page, r#""csrf":""#, &['"']);
        let own =
            [format!("Cookie: {cookie}"), format!("X-CSRF-Token: {csrf}"), "Origin: http://localhost".into()];
        let ticket = call(address, "POST /api/v1/session/ticket", &own, "");
        let made = call(address, "POST /api/v1/tokens", &[json, good.to_owned()], r#"{"name":"canary"}"#);
        Made {
            api: after(&made, r#""secret":""#, &['"']),
            cookie,
            device,
            csrf,
            ticket: after(&ticket, r#""ticket":""#, &['"']),
        }
    }

    /// Each shown where it belongs, and where it does not; what is answered.
    fn used(&self, address: &str, headers: &[String]) -> Vec<String> {
        let Made { api, cookie, device, csrf, ticket } = self;
        let secret = |pair: &str| pair.split_once('=').unwrap().1.to_owned();
        let get = |path: &str, line: String| call(address, &format!("GET {path}"), &[line], "");
        let look = get("/api/v1/journal", format!("Authorization: Bearer {api}"));
        assert!(look.starts_with("HTTP/1.1 200"), "{look}");
        let mut answers = vec![look, get("/api/monitor/status", format!("Cookie: {cookie}; {device}"))];
        assert!(answers[1].starts_with("HTTP/1.1 200"), "{}", answers[1]);
        for (name, wrong) in [
            ("a cookie", secret(cookie)),
            ("a browser", secret(device)),
            ("a ticket", ticket.clone()),
            ("a CSRF token", csrf.clone()),
            ("an API token, misspelt", format!("{api}x")),
        ] {
            let refused = get("/api/v1/tokens", format!("Authorization: Bearer {wrong}"));
            assert!(refused.starts_with("HTTP/1.1 401"), "{name}: {refused}");
            answers.push(refused);
        }
        let forged = [
            format!("Cookie: {cookie}"),
            format!("X-CSRF-Token: {csrf}x"),
            "Origin: http://localhost".into(),
        ];
        answers.push(call(address, "POST /api/v1/session/ticket", &forged, ""));
        let hello = call(address, "GET /socket.io/?EIO=4&transport=polling", headers, "");
        let sid = hello.split(r#""sid":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
        let poll = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        let hello = format!(r#"40/events,{{"token":"{ticket}"}}"#);
        answers.push(call(address, &format!("POST {poll}"), &[], &hello));
        // It may be told something else before.
        let mut polls = (0..4).map(|_| call(address, &format!("GET {poll}"), &[], ""));
        let admitted = polls.find(|answer| answer.contains("40/events,"));
        answers.push(admitted.expect("the ticket lets it in"));
        answers
    }

    /// Without the names of cookies, which are no secret.
    fn all(&self) -> Vec<&str> {
        let Made { api, cookie, device, csrf, ticket } = self;
        let [cookie, device] = [cookie, device].map(|pair| pair.split_once('=').unwrap().1);
        vec![api, cookie, device, csrf, ticket]
    }
}

/// The daemon's configuration with the address that it listens at, for commands.
fn config_here(folder: &Folder, config: &str, address: &str) -> String {
    let text = std::fs::read_to_string(config).unwrap().replace("127.0.0.1:0", address);
    folder.give("here.toml", &text)
}

/// A mail server that lets nobody in and says back what it hears; where it listens.
fn repeating_mail_server() -> u16 {
    serve(|stream| {
        stream.get_mut().write_all(b"220 ready\r\n")?;
        let mut line = String::new();
        while stream.read_line(&mut line)? > 0 {
            let answer = match line.trim() {
                hello if hello.starts_with("EHLO") => "250-ready\r\n250 AUTH PLAIN LOGIN\r\n".to_owned(),
                other => format!("535 not with {other}\r\n"),
            };
            stream.get_mut().write_all(answer.as_bytes())?;
            line.clear();
        }
        Ok(())
    })
}

/// A webhook that takes nothing and says back how it was called.
fn repeating_webhook() -> u16 {
    serve(|stream| {
        let (mut head, mut line) = (String::new(), String::new());
        while stream.read_line(&mut line)? > 2 {
            head.push_str(&line);
            line.clear();
        }
        let length = head.len();
        write!(
            stream.get_mut(),
            "HTTP/1.1 500 No\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{head}"
        )
    })
}

fn serve(talk: fn(&mut BufReader<TcpStream>) -> std::io::Result<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever hangs up has heard enough.
            talk(&mut BufReader::new(stream.unwrap())).ok();
        }
    });
    port
}

/// All files below a folder.
fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, into) } else { into.push(path) }
    }
}

const SECRETS: [&str; 17] = [
    INLINE, FILE, ENV, REFUSED, UNTRUSTED, PASSWORD, GUESS, BEARER, COOKIE, QUERY, HEADER, HANDSHAKE,
    USERINFO, CODE, MAIL, HOOK, HOOK_PATH,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_comes_out_of_the_running_daemon() {
    let folder = Folder::new("run");
    let mut options = Options::generated(5, 6, 1).unwrap();
    options.tokens = [("inline", INLINE), ("file", FILE), ("env", ENV), ("untrusted", UNTRUSTED)]
        .map(|(name, secret)| format!("jarvis@pve!{name}={secret}").parse().unwrap())
        .into();
    options.delay_401 = Duration::from_millis(100);
    let (cluster, other) =
        (Server::start(options).unwrap(), Server::start(Options::generated(1, 1, 2).unwrap()).unwrap());
    let (ca, wrong_ca) = (folder.give("ca.pem", cluster.ca_pem()), folder.give("wrong.pem", other.ca_pem()));
    let secret_file = folder.give("secret", FILE);
    let refused_file = folder.give("refused", REFUSED);
    let untrusted_file = folder.give("untrusted", UNTRUSTED);
    let all = cluster.endpoints();
    let mut endpoints = all.iter();
    // An address is watched once; so each has a node of its own.
    let mut watched = |name: &str, secret: &str, ca: &str| {
        let endpoint = endpoints.next().unwrap();
        format!(
            "[[cluster]]\nname = \"{name}\"\nendpoints = [\"{endpoint}\"]\ntoken_id = \"jarvis@pve!{name}\"\n{secret}\nca_file = \"{ca}\"\n"
        )
    };
    let store = folder.0.join("data/jarvis.db");
    let (mail_file, hook_file) = (folder.give("mail", MAIL), folder.give("hook", HOOK));
    let told = format!(
        "[mail]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nfrom = \"a@x.org\"\nto = [\"b@x.org\"]\nuser = \"me\"\n\
         password_file = {mail_file:?}\n[[webhook]]\nname = \"pager\"\nurl = \"http://127.0.0.1:{}/{HOOK_PATH}\"\n\
         secret_file = {hook_file:?}\n",
        repeating_mail_server(),
        repeating_webhook()
    );
    let config = [
        format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {store:?}\n[tiers]\ncritical = \"2s\"\n"
        ),
        watched("inline", &format!("token_secret = \"{INLINE}\""), &ca),
        watched("file", &format!("token_secret_file = \"{secret_file}\""), &ca),
        watched("env", "token_secret_env = \"CANARY_SECRET\"", &ca),
        watched("refused", &format!("token_secret_file = \"{refused_file}\""), &ca),
        watched("untrusted", &format!("token_secret_file = \"{untrusted_file}\""), &wrong_ca),
        told,
    ];
    let config = folder.give("jarvis.toml", &config.concat());
    let mut jarvis = Jarvis::start(&folder, &config, Some(PASSWORD));
    let address = jarvis.address();

    // What anybody may send.
    let mut answers = vec![
        call(&address, "POST /api/auth/login", &[], &format!(r#"{{"password":"{GUESS}"}}"#)),
        call(&address, "POST /api/auth/login", &[], &format!(r#"{{"password":["{GUESS}"]}}"#)),
        call(&address, "POST /api/auth/setup", &[], &format!(r#"{{"code":"{CODE}","password":"{GUESS}"}}"#)),
        call(&address, &format!("GET /api/monitor/status?token={QUERY}"), &[], ""),
    ];
    let login = call(&address, "POST /api/auth/login", &[], &format!(r#"{{"password":"{PASSWORD}"}}"#));
    let token = login.split(r#""token":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let good = format!("Authorization: Bearer {token}");
    let headers = [
        format!("Authorization: Bearer {BEARER}"),
        format!("Cookie: session={COOKIE}"),
        format!("X-Api-Key: {HEADER}"),
    ];
    for path in ["/api/monitor/status", "/metrics", "/api/memory/events", "/nothing"] {
        answers.push(call(&address, &format!("GET {path}"), &headers, ""));
    }
    // A handshake with a wrong token and one with a good one.
    for auth in [HANDSHAKE, &token] {
        let hello = call(&address, "GET /socket.io/?EIO=4&transport=polling", &headers, "");
        let sid = hello.split(r#""sid":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
        let poll = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
        for namespace in ["/events", "/cluster"] {
            let hello = format!(r#"40{namespace},{{"token":"{auth}","deltas":true}}"#);
            answers.push(call(&address, &format!("POST {poll}"), &[], &hello));
            answers.push(call(&address, &format!("GET {poll}"), &[], ""));
        }
    }
    let made = Made::by(&address, &good);
    answers.extend(made.used(&address, &headers));
    let again = format!("Cookie: {}; {}", made.cookie, made.device);
    let body = format!(r#"{{"password":"{PASSWORD}"}}"#);
    let json = "Content-Type: application/json".to_owned();
    let once_more = call(&address, "POST /api/v1/session", &[again, json], &body);
    assert!(once_more.starts_with("HTTP/1.1 200"), "{once_more}");
    let asked = Command::new(env!("CARGO_BIN_EXE_jarvis"))
        .args(["--log", "trace", "status", "--config", &config_here(&folder, &config, &address)])
        .env("CANARY_SECRET", ENV)
        .env_remove("JARVIS_PASSWORD")
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    let asked = String::from_utf8_lossy(&[asked.stdout, asked.stderr].concat()).into_owned();
    answers.push(asked);
    let tried = Command::new(env!("CARGO_BIN_EXE_jarvis"))
        .args(["--log", "trace", "notify-test", "--config", &config])
        .env("CANARY_SECRET", ENV)
        .output()
        .unwrap();
    let tried = String::from_utf8_lossy(&[tried.stdout, tried.stderr].concat()).into_owned();
    assert!(
        tried.contains("mail:b@x.org: not accepted") && tried.contains("webhook:pager: not accepted"),
        "{tried}"
    );
    answers.push(tried);
    jarvis.logged("not told yet: the address does not take it");
    // What goes wrong with a cluster.
    jarvis.logged("the token is refused");
    jarvis.logged("not trusted");
    for fault in ["fault 500 n=1 times=5", "api garbage", "api truncated", "api denied"] {
        cluster.apply(fault).unwrap();
        std::thread::sleep(Duration::from_secs(3));
    }
    cluster.apply("api back").unwrap();
    for path in
        ["/api/health", "/api/monitor/status", "/api/memory/events", "/api/memory/preferences", "/metrics"]
    {
        let answer = call(&address, &format!("GET {path}"), std::slice::from_ref(&good), "");
        assert!(answer.starts_with("HTTP/1.1 200") || path == "/api/health", "{path}: {answer}");
        answers.push(answer);
    }

    // What the system shows of it.
    let pid = jarvis.child.id();
    let proc = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap();
    let limits = String::from_utf8(proc("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(
        core.split_whitespace().collect::<Vec<_>>(),
        ["Max", "core", "file", "size", "0", "0", "bytes"]
    );
    let files_line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let most: Vec<u64> = files_line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(most[0] >= most[1].min(8192), "as many files as the sockets need: {files_line}");
    let shown = String::from_utf8_lossy(&proc("cmdline")).into_owned();
    assert_eq!(found(&shown, &SECRETS), None, "the list of processes");
    let environ = std::fs::metadata(format!("/proc/{pid}/environ")).unwrap();
    assert_eq!(environ.permissions().mode() & 0o777, 0o400, "the environment is its owner's");

    let stopped = Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
    assert!(stopped.success() && jarvis.child.wait().unwrap().success());
    let log = jarvis.text();
    assert!(log.contains(" TRACE "), "the log is as talkative as it can be");
    let mut secrets = SECRETS.to_vec();
    secrets.extend(made.all());
    secrets.push(&token);
    assert_eq!(found(&log, &secrets), None, "the log");
    for answer in &answers {
        assert_eq!(found(answer, &secrets), None, "an answer: {answer}");
        assert_eq!(token_of_ours(answer), None, "an answer: {answer}");
    }
    assert_eq!(token_of_ours(&log), None, "the log");
    let mut all = Vec::new();
    files(&folder.0, &mut all);
    all.retain(|file| !file.starts_with(folder.0.join("given")));
    assert!(all.len() >= 4, "{all:?}");
    for file in all {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert_eq!(found(&text, &secrets), None, "{}", file.display());
        assert_eq!(token_of_ours(&text), None, "{}", file.display());
    }
}

#[test]
fn the_setup_code_is_in_the_log_once_and_nowhere_else() {
    let folder = Folder::new("setup");
    let secret = folder.give("secret", FILE);
    let store = folder.0.join("data/jarvis.db");
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[store]\npath = {store:?}\n[[cluster]]\nname = \"lab\"\n\
         endpoints = [\"https://127.0.0.1:1\"]\ntoken_id = \"a@pve!b\"\ntoken_secret_file = \"{secret}\"\n"
    );
    let jarvis = Jarvis::start(&folder, &folder.give("jarvis.toml", &config), None);
    let address = jarvis.address();
    let line = jarvis.logged("no password is set");
    // The line is for a shell: where, and with what.
    assert!(line.contains(&format!(
        "curl http://{address}/api/auth/setup -H 'content-type: application/json' -d '{{"
    )));
    let code = line.split(r#""code":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let body = format!(r#"{{"code":"{code}","password":"{PASSWORD}"}}"#);
    let set = call(&address, "POST /api/auth/setup", &[], &body);
    assert!(set.starts_with("HTTP/1.1 200"), "{set}");
    let again = call(&address, "POST /api/auth/setup", &[], &body);
    assert!(again.starts_with("HTTP/1.1 409") && found(&again, &[&code, PASSWORD]).is_none(), "{again}");
    let log = jarvis.text();
    // For a browser and for a shell.
    let lines: Vec<_> = log.lines().filter(|line| line.contains(&code)).collect();
    assert_eq!(lines, [line.as_str()], "it is for whoever reads the log, once");
    assert!(line.contains(&format!("http://{address}/setup#code={code} ")), "{line}");
    let login = set.split(r#""token":""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(found(&log.replace(&code, ""), &[&code, PASSWORD, FILE, &login]), None);
    assert_eq!(token_of_ours(&log), None, "the log");
    let mut all = Vec::new();
    files(&folder.0.join("data"), &mut all);
    for file in all {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert_eq!(found(&text, &[&code, PASSWORD, FILE, &login]), None, "{}", file.display());
    }
}

/// Each way to write a secret into the wrong place of a configuration.
#[test]
fn what_is_wrong_with_a_configuration_is_said_without_its_secrets() {
    let cluster = "[[cluster]]\nname = \"lab\"\n";
    #[rustfmt::skip]
    let table = [
        ("a password in the address",      format!("{cluster}endpoints = [\"https://root:{USERINFO}@10.0.0.1:8006\"]\ntoken_id = \"a@pve!b\"\ntoken_secret = \"{INLINE}\"\n")),
        ("in the sensors' address",        format!("{cluster}endpoints = [\"https://10.0.0.1:8006\"]\ntoken_id = \"a@pve!b\"\ntoken_secret = \"{INLINE}\"\ntemperature = {{ source = \"node_exporter\", url = \"http://u:{USERINFO}@{{node}}:9100/metrics\" }}\n")),
        ("the secret behind the id",       format!("{cluster}endpoints = [\"https://10.0.0.1:8006\"]\ntoken_id = \"a@pve!b={INLINE}\"\ntoken_secret = \"{INLINE}\"\n")),
        ("twice",                          format!("{cluster}endpoints = [\"https://10.0.0.1:8006\"]\ntoken_id = \"a@pve!b\"\ntoken_secret = \"{INLINE}\"\ntoken_secret_file = \"/nowhere\"\n")),
        ("a number for a text beside it",  format!("{cluster}endpoints = 5\ntoken_id = \"a@pve!b\"\ntoken_secret = \"{INLINE}\"\n")),
        ("an open quote",                  format!("{cluster}token_secret = \"{INLINE}\n")),
        ("in an unknown key's value",      format!("{cluster}endpoints = [\"https://10.0.0.1:8006\"]\ntoken_id = \"a@pve!b\"\ntoken_sceret = \"{INLINE}\"\n")),
        ("as a list",                      format!("{cluster}endpoints = [\"https://10.0.0.1:8006\"]\ntoken_id = \"a@pve!b\"\ntoken_secret = [\"{INLINE}\"]\n")),
    ];
    for (name, text) in table {
        let error = Config::from_text("jarvis.toml", &text, &|_| None).expect_err(name);
        assert_eq!(found(&format!("{error} {error:?}"), &SECRETS), None, "{name}: {error}");
    }
}

/// A task that panics with everything it knows, as its message and in its backtrace.
#[tokio::test]
async fn a_panic_of_a_poller_says_no_secret() {
    let folder = Folder::new("panic");
    let text = format!(
        "[[cluster]]\nname = \"lab\"\nendpoints = [\"https://10.0.0.1:8006\"]\ntoken_id = \"a@pve!b\"\ntoken_secret = \"{INLINE}\"\n"
    );
    let env = |name: &str| (name == "JARVIS_PASSWORD").then(|| PASSWORD.to_owned());
    let config = Config::from_text("jarvis.toml", &text, &env).unwrap();
    let store = daemon::record::Store::open(&folder.0.join("panic.db")).await.unwrap();
    let auth = Auth::open(&folder.0, store, Some(Password::new(PASSWORD))).await.unwrap();
    auth.settle().await.unwrap();
    let issued = auth.issue(&UserName::admin(), false, Timestamp::now()).await.unwrap();
    let token = pve::Token::new("a@pve!b", pve::Secret::new(INLINE)).unwrap();
    let known = format!("{config:?} {config:#?} {auth:?} {issued:?} {token:?} {:?}", Password::new(PASSWORD));
    assert!(known.contains("a@pve!b"), "it says what is no secret");
    let said = Arc::new(Mutex::new(String::new()));
    let hears = Arc::clone(&said);
    std::panic::set_hook(Box::new(move |panic| {
        let trace = std::backtrace::Backtrace::force_capture();
        hears.lock().unwrap().push_str(&format!("{panic}\n{trace}"));
    }));
    let (sender, stop) = supervise::stop();
    let poller = supervise::keep_alive("lab critical poller".into(), stop, move || {
        let known = known.clone();
        async move { panic!("the poller knew: {known}") }
    });
    let ended = tokio::time::timeout(Duration::from_millis(500), poller).await;
    drop(std::panic::take_hook());
    drop(sender);
    assert!(ended.is_err(), "it is kept alive");
    let said = said.lock().unwrap().clone();
    assert!(said.contains("the poller knew") && said.contains("canary::"), "{said}");
    assert_eq!(found(&said, &[INLINE, PASSWORD, &issued.token]), None, "{said}");
}
