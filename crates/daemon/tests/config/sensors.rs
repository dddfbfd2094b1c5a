//! `temperature = { source = ... }`: what is wrong with it, in which words.

use expect_test::{Expect, expect};

use super::help::*;

#[test]
fn wrong_sources_of_temperature_are_named_with_their_place_and_what_is_allowed() {
    let folder = Folder::new();
    let endpoints_line = "endpoints = [\"https://10.0.0.11:8006\"]";
    let endpoints = |list: &str| format!("endpoints = {list}");
    let token_line = "token_id = \"jarvis@pve!observe\"";
    let private = folder.file("id_ed25519", PRIVATE_KEY, 0o600);
    let open = folder.file("id_open", PRIVATE_KEY, 0o640);
    let public = folder.file("id_ed25519.pub", "ssh-ed25519 AAAA jarvis@lab\n", 0o600);
    let temperature = |table: &str| format!("{token_line}\ntemperature = {table}");
    let exporter_line =
        |url: &str| format!("temperature = {{ source = \"node_exporter\", url = \"{url}\" }}");
    let exporter = |url: &str| format!("{token_line}\n{}", exporter_line(url));
    let ssh = |user: &str, key: &str| {
        temperature(&format!("{{ source = \"ssh\", user = \"{user}\", key_file = \"{key}\" }}"))
    };
    #[rustfmt::skip]
    let table: [(&str, &str, String, Expect); 25] = [
        ("sensors of nobody",             token_line,        temperature("{}"),                      expect!["jarvis.toml:5:15: cluster[0].temperature.source: is missing: `node_exporter` or `ssh`"]),
        ("sensors as a text",             token_line,        temperature("\"ssh\""),                  expect!["jarvis.toml:5:15: cluster[0].temperature: must be a table, not a text"]),
        ("sensors of another world",      token_line,        temperature("{ source = \"ipmi\" }"),    expect![[r#"jarvis.toml:5:26: cluster[0].temperature.source: must be "node_exporter" or "ssh""#]]),
        ("a typo in sensors",             token_line,        temperature("{ sorce = \"ssh\" }"),      expect![[r#"
            the configuration has 2 problems:
              jarvis.toml:5:15: cluster[0].temperature.source: is missing: `node_exporter` or `ssh`
              jarvis.toml:5:17: cluster[0].temperature.sorce: unknown key `sorce`: did you mean `source`?"#]]),
        ("a typo in a key of sensors",    token_line,        temperature(&format!("{{ source = \"ssh\", user = \"root\", keyfile = \"{private}\" }}")), expect![[r#"
            the configuration has 2 problems:
              jarvis.toml:5:15: cluster[0].temperature.key_file: is missing: a private key without a pass phrase, chmod 600
              jarvis.toml:5:48: cluster[0].temperature.keyfile: unknown key `keyfile`: did you mean `key_file`?"#]]),
        ("an exporter with a user",       token_line,        temperature("{ source = \"node_exporter\", user = \"root\" }"), expect![[r#"jarvis.toml:5:50: cluster[0].temperature.user: `user` says nothing to source = "node_exporter": take it out"#]]),
        ("an exporter by FTP",            token_line,        exporter("ftp://{node}/metrics"),       expect!["jarvis.toml:5:49: cluster[0].temperature.url: must begin with http:// or https://"]),
        ("an exporter with a password",   token_line,        exporter("http://me:3f0c7d2e-0d3b-4a51-9c8e-2b1f6a7d9e10@{node}/metrics"), expect!["jarvis.toml:5:49: cluster[0].temperature.url: must hold no user or password: node_exporter is asked without"]),
        ("an exporter per node twice",    token_line,        exporter("http://{node}:9100/{node}"),  expect!["jarvis.toml:5:49: cluster[0].temperature.url: must hold {node} once"]),
        ("an exporter with other braces", token_line,        exporter("http://{host}:9100/metrics"), expect!["jarvis.toml:5:49: cluster[0].temperature.url: must hold no braces but {node}, which becomes each node's name"]),
        ("a node as a port",              token_line,        exporter("http://10.0.0.11:{node}/"),   expect!["jarvis.toml:5:49: cluster[0].temperature.url: must be an address like http://{node}:9100/metrics"]),
        ("an exporter with a blank",      token_line,        exporter("http://{node} :9100/"),       expect!["jarvis.toml:5:49: cluster[0].temperature.url: must be an address like http://{node}:9100/metrics"]),
        ("an exporter with a fragment",   token_line,        exporter("http://{node}:9100/#x"),      expect!["jarvis.toml:5:49: cluster[0].temperature.url: must be an address like http://{node}:9100/metrics"]),
        ("an exporter without a host",    token_line,        exporter("http://"),                    expect!["jarvis.toml:5:49: cluster[0].temperature.url: must be an address like http://{node}:9100/metrics"]),
        ("an endless exporter",           token_line,        exporter(&format!("http://{{node}}/{}", "x".repeat(1_000))), expect!["jarvis.toml:5:49: cluster[0].temperature.url: is longer than 1000 characters: this is no address of a node_exporter"]),
        ("one exporter for two nodes",    endpoints_line,    format!("{}\n{}", endpoints("[\"https://a\", \"https://b\"]"), exporter_line("http://10.0.0.11:9100/metrics")), expect!["jarvis.toml:4:49: cluster[0].temperature.url: must hold {node}, which becomes each node's name: the cluster has several nodes"]),
        ("ssh without all",               token_line,        temperature("{ source = \"ssh\" }"),     expect![[r#"
            the configuration has 2 problems:
              jarvis.toml:5:15: cluster[0].temperature.user: is missing: whom to log in as on the nodes, like "root"
              jarvis.toml:5:15: cluster[0].temperature.key_file: is missing: a private key without a pass phrase, chmod 600"#]]),
        ("ssh with an address",           token_line,        temperature(&format!("{{ source = \"ssh\", url = \"http://a\", user = \"root\", key_file = \"{private}\" }}")), expect![[r#"jarvis.toml:5:39: cluster[0].temperature.url: `url` says nothing to source = "ssh": take it out"#]]),
        ("a user that is an option",      token_line,        ssh("-oProxyCommand=reboot", &private), expect!["jarvis.toml:5:40: cluster[0].temperature.user: must be a user of the nodes: lower-case letters, digits, `-` and `_`, at most 32 of them, starting with a letter or `_`"]),
        ("a user with a blank",           token_line,        ssh("root x", &private),                expect!["jarvis.toml:5:40: cluster[0].temperature.user: must be a user of the nodes: lower-case letters, digits, `-` and `_`, at most 32 of them, starting with a letter or `_`"]),
        ("no such key",                   token_line,        ssh("root", "/nonexistent/key"),        expect!["jarvis.toml:5:59: cluster[0].temperature.key_file: `/nonexistent/key` cannot be opened: No such file or directory (os error 2)"]),
        ("a key that others may read",    token_line,        ssh("root", &open),                     expect!["jarvis.toml:5:59: cluster[0].temperature.key_file: `DIR/id_open` is open to others, and ssh refuses such a key: chmod 600 DIR/id_open"]),
        ("a public key",                  token_line,        ssh("root", &public),                   expect!["jarvis.toml:5:59: cluster[0].temperature.key_file: `DIR/id_ed25519.pub` holds no private key for ssh: make one with ssh-keygen -t ed25519"]),
        ("a key that ssh would rename",   token_line,        ssh("root", "/etc/jarvis/%u"),           expect!["jarvis.toml:5:59: cluster[0].temperature.key_file: must be a path without `%`, `$` and `~`, which ssh would replace"]),
        ("a folder as a key",             token_line,        ssh("root", "/"),                       expect!["jarvis.toml:5:59: cluster[0].temperature.key_file: `/` cannot be opened: it is no ordinary file"]),
    ];
    for (name, line, replacement, expected) in table {
        assert!(MINIMAL.contains(line), "{name}: nothing is broken");
        let text = MINIMAL.replace(line, &replacement);
        expected.assert_eq(&folder.strip(&complaint(name, &text, &[])));
    }
}
