//! `[mail]`, `[[webhook]]` and `server.public_url`: what they become, and what is wrong with them, in which words.

use std::path::Path;

use daemon::config::{MailTls, describe};
use engine::report::Severity;
use expect_test::{Expect, expect};

use super::help::*;

const PASSWORD: &str = "the password of mail";
const HOOK: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const CA: &str = include_str!("../data/ca.pem");

#[test]
fn the_example_of_who_is_told_is_good() {
    let folder = Folder::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../jarvis.example.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let (_, block) = text.split_once("# [mail]").unwrap();
    let (block, _) = block.split_once("# One table per cluster").unwrap();
    let lines = format!("# [mail]{block}");
    let set = |line: &str| {
        line.starts_with(|c: char| c.is_ascii_lowercase() || c == '[')
            && (line.contains(" = ") || line.starts_with('['))
    };
    let lines: Vec<&str> =
        lines.lines().filter_map(|line| line.strip_prefix("# ")).filter(|line| set(line)).collect();
    let mut block = format!("{MINIMAL}{}\n", lines.join("\n"));
    for (name, content) in
        [("mail.secret", PASSWORD), ("pager.secret", HOOK), ("mail-ca.pem", CA), ("pager-ca.pem", CA)]
    {
        block = block.replace(&format!("/etc/jarvis/{name}"), &folder.file(name, content, 0o600));
    }
    let config = load(&block, &[]).unwrap();
    let mail = config.told.mail.as_ref().unwrap();
    assert_eq!((mail.host.as_str(), mail.port, mail.tls), ("smtp.example.org", 587, MailTls::Starttls));
    assert_eq!((mail.to.as_slice(), mail.least), (&["admin@example.org".to_owned()][..], Severity::Error));
    assert_eq!(mail.login.as_ref().unwrap().1.expose(), PASSWORD);
    assert_eq!(config.told.webhooks[0].secret.expose(), HOOK);
    assert_eq!(config.warnings, Vec::<String>::new());
    let shown = format!("{}{config:?}", describe(&config));
    for secret in [PASSWORD, HOOK, "hooks/jarvis"] {
        assert!(!shown.contains(secret), "it shows {secret}");
    }
    let lines = describe(&config);
    let lines: Vec<&str> =
        lines.lines().filter(|line| line.starts_with("mail") || line.starts_with("webhook")).collect();
    expect![[r#"
        mail.host                     smtp.example.org  (jarvis.toml:8:8)
        mail.tls                      starttls  (jarvis.toml:10:7)
        mail.port                     587  (jarvis.toml:9:8)
        mail.from                     Jarvis <jarvis@example.org>  (jarvis.toml:11:8)
        mail.to                       [admin@example.org]  (jarvis.toml:12:6)
        mail.ca_file                  DIR/mail-ca.pem  (jarvis.toml:15:11)
        mail.user                     jarvis  (jarvis.toml:13:8)
        mail.password_file            DIR/mail.secret  (jarvis.toml:14:17)
        mail.least                    error  (jarvis.toml:16:9)
        webhook[0].name               pager  (jarvis.toml:18:8)
        webhook[0].url                https://example.org/...  (jarvis.toml:19:7)
        webhook[0].ca_file            DIR/pager-ca.pem  (jarvis.toml:21:11)
        webhook[0].secret_file        DIR/pager.secret  (jarvis.toml:20:15)
        webhook[0].least              error  (jarvis.toml:22:9)"#]]
    .assert_eq(&folder.strip(&lines.join("\n")));
}

#[test]
fn ports_go_with_how_it_is_sealed() {
    #[rustfmt::skip]
    let table = [
        ("nothing is said",       "",                                  (587, MailTls::Starttls), 0),
        ("sealed from the start", "tls = \"implicit\"",                (465, MailTls::Implicit), 0),
        ("to this machine",       "tls = \"none\"\nhost = \"::1\"",    (25, MailTls::None), 0),
        ("by its name",           "tls = \"none\"\nhost = \"localhost\"", (25, MailTls::None), 0),
        ("in clear to another",   "tls = \"none\"\nhost = \"10.0.0.9\"", (25, MailTls::None), 1),
        ("another port",          "port = 2525",                       (2525, MailTls::Starttls), 0),
    ];
    for (name, lines, expected, warnings) in table {
        let host = if lines.contains("host") { "" } else { "host = \"smtp.example.org\"\n" };
        let text =
            format!("{MINIMAL}[mail]\n{host}{lines}\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]\n");
        let config = load(&text, &[]).unwrap();
        let mail = config.told.mail.unwrap();
        assert_eq!(((mail.port, mail.tls), config.warnings.len()), (expected, warnings), "{name}");
    }
}

#[test]
fn a_wrong_way_to_tell_somebody_is_named_with_its_place_and_what_is_allowed() {
    let env = [("MAIL", PASSWORD), ("HOOK", HOOK), ("SHORT", "whsec_AAEC"), ("NONE", "whsec_!")];
    let mail = |lines: &str| {
        format!(
            "[mail]\nhost = \"smtp.example.org\"\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]\n{lines}"
        )
    };
    let hook = |url: &str, secret: &str| {
        format!("[[webhook]]\nname = \"pager\"\nurl = \"{url}\"\nsecret_env = \"{secret}\"")
    };
    let good = hook("https://example.org/", "HOOK");
    let public = |url: &str| format!("[server]\npublic_url = \"{url}\"");
    #[rustfmt::skip]
    let table: [(&str, String, Expect); 23] = [
        ("an empty table",             "[mail]".into(),                                       expect![[r#"
            the configuration has 3 problems:
              jarvis.toml:7:1: mail.host: is missing: the mail server's name or address
              jarvis.toml:7:1: mail.from: is missing: the sender's address, like jarvis@example.org
              jarvis.toml:7:1: mail.to: is missing: who is told, like ["admin@example.org"]"#]]),
        ("a server with a scheme",     mail("").replace("smtp.example.org", "smtp://a"),      expect!["jarvis.toml:8:8: mail.host: must be the mail server's name or address, like smtp.example.org"]),
        ("no address",                 mail("").replace("b@example.org", "bob"),              expect!["jarvis.toml:10:7: mail.to[0]: must be an address like admin@example.org"]),
        ("a header in an address",     mail("").replace("b@example.org", "b@example.org\\nBcc: c@example.org"), expect!["jarvis.toml:10:7: mail.to[0]: must be an address like admin@example.org"]),
        ("somebody twice",             mail("").replace("[\"b@", "[\"B <b@example.org>\", \"b@"), expect!["jarvis.toml:10:28: mail.to[1]: stands here twice"]),
        ("nobody",                     mail("").replace("\"b@example.org\"", ""),             expect!["jarvis.toml:10:6: mail.to: must name 1 to 20 addresses"]),
        ("another way to seal",        mail("tls = \"ssl\""),                                 expect![[r#"jarvis.toml:11:7: mail.tls: must be "starttls", "implicit" (sealed from the start) or "none""#]]),
        ("a password in clear",        mail("tls = \"none\"\nuser = \"a\"\npassword_env = \"MAIL\""), expect![[r#"jarvis.toml:11:7: mail.tls: "none" would send the password in clear to another machine: use "starttls" or "implicit", or a mail server on this machine"#]]),
        ("a password of nobody",       mail("password_env = \"MAIL\""),                       expect!["jarvis.toml:11:16: mail.password_env: is a password, and whose it is is missing: set user"]),
        ("a user without a password",  mail("user = \"a\""),                                  expect!["jarvis.toml:7:1: mail.password_file: is missing: a file that holds it and nothing else; or the name of a variable that does"]),
        ("two passwords",              mail("user = \"a\"\npassword_env = \"MAIL\"\npassword_file = \"x\""), expect!["jarvis.toml:12:16: mail.password_env: contradicts password_file: give either password_file or password_env"]),
        ("a password in the file",     mail("user = \"a\"\npassword = \"x\""),                expect![[r#"
            the configuration has 2 problems:
              jarvis.toml:7:1: mail.password_file: is missing: a file that holds it and nothing else; or the name of a variable that does
              jarvis.toml:12:1: mail.password: unknown key `password`: did you mean `password_env`?"#]]),
        ("a port that is none",        mail("port = 0"),                                      expect!["jarvis.toml:11:8: mail.port: 0 is not a whole number from 1 to 65535"]),
        ("another severity",           mail("least = \"bad\""),                               expect![[r#"jarvis.toml:11:9: mail.least: must be "info", "warning", "error" or "critical""#]]),
        ("a webhook in clear",         hook("http://example.org/", "HOOK"),                   expect!["jarvis.toml:9:7: webhook[0].url: must begin with https://: what is told travels in clear to this machine alone"]),
        ("a webhook with a user",      hook("https://me:pass@example.org/", "HOOK"),          expect!["jarvis.toml:9:7: webhook[0].url: must be an address like https://example.org/hooks/jarvis, without a user in it"]),
        ("a webhook that is no URL",   hook("example.org", "HOOK"),                           expect!["jarvis.toml:9:7: webhook[0].url: must be an address like https://example.org/hooks/jarvis, without a user in it"]),
        ("a short secret",             hook("https://example.org/", "SHORT"),                 expect!["jarvis.toml:7:1: webhook[0]: the secret must have 24 bytes at least; of one that begins with whsec_ the rest is BASE64. Make one: echo whsec_$(head -c 32 /dev/urandom | base64)"]),
        ("a secret that is no BASE64", hook("https://example.org/", "NONE"),                  expect!["jarvis.toml:7:1: webhook[0]: the secret must have 24 bytes at least; of one that begins with whsec_ the rest is BASE64. Make one: echo whsec_$(head -c 32 /dev/urandom | base64)"]),
        ("two of one name",            format!("{good}\n{good}"),                             expect!["jarvis.toml:12:8: webhook[1].name: `pager` is the name of another webhook"]),
        ("a webhook without a name",   good.replace("name = \"pager\"\n", ""),                expect!["jarvis.toml:7:1: webhook[0].name: is missing: what it is called in events and answers"]),
        ("a link to a script",         public("javascript:alert(1)"),                         expect!["jarvis.toml:8:14: server.public_url: must be the address at which Jarvis is reached, like https://jarvis.example.org"]),
        ("a link out of its quotes",   public("https://a/'onclick=x"),                        expect!["jarvis.toml:8:14: server.public_url: must be the address at which Jarvis is reached, like https://jarvis.example.org"]),
    ];
    for (name, lines, expected) in table {
        let shown = complaint(name, &format!("{MINIMAL}{lines}\n"), &env);
        for secret in [PASSWORD, HOOK, "me:pass"] {
            assert!(!shown.contains(secret), "{name} shows a secret: {shown}");
        }
        expected.assert_eq(&shown);
    }
}
