//! The settings as typed: what the file says, key by key, before anybody has judged it.

use toml::Spanned;
use toml::de::DeTable;

use super::secret::Secret;
use super::tree::{At, Mixed, Place, Problems, Table};

type Text = Option<At<String>>;

#[derive(Debug, Default)]
pub(super) struct Typed {
    pub(super) server: Server,
    pub(super) store: Store,
    pub(super) autonomy: Autonomy,
    pub(super) tiers: Tiers,
    pub(super) clusters: Vec<Cluster>,
    pub(super) thresholds: Thresholds,
    pub(super) thresholds_for: Vec<ThresholdsFor>,
    pub(super) runbooks: Vec<Runbook>,
    pub(super) mail: Option<Mail>,
    pub(super) webhooks: Vec<Webhook>,
}

#[derive(Debug, Default)]
pub(super) struct Autonomy {
    pub(super) level: Option<At<i64>>,
    pub(super) standby: Option<At<bool>>,
}

#[derive(Debug)]
pub(super) struct Runbook {
    /// The table, for what is missing in it.
    pub(super) place: Place,
    pub(super) id: Text,
    pub(super) cluster: Text,
    pub(super) condition: Text,
    pub(super) only: Option<At<Vec<At<String>>>>,
    pub(super) action: Text,
    pub(super) level: Option<At<i64>>,
    pub(super) attempts: Option<At<i64>>,
    pub(super) window: Text,
    pub(super) cooldown: Text,
    pub(super) grace: Text,
    pub(super) first_look: Text,
    pub(super) verify_for: Text,
    pub(super) verify_within: Text,
}

#[derive(Debug)]
pub(super) struct Mail {
    /// The table, for what is missing in it.
    pub(super) place: Place,
    pub(super) host: Text,
    pub(super) port: Option<At<i64>>,
    pub(super) tls: Text,
    pub(super) from: Text,
    pub(super) to: Option<At<Vec<At<String>>>>,
    pub(super) user: Text,
    pub(super) password: SecretAt,
    pub(super) ca_file: Text,
    pub(super) least: Text,
}

#[derive(Debug)]
pub(super) struct Webhook {
    /// The table, for what is missing in it.
    pub(super) place: Place,
    pub(super) name: Text,
    pub(super) url: Text,
    pub(super) secret: SecretAt,
    pub(super) ca_file: Text,
    pub(super) least: Text,
}

#[derive(Debug, Default)]
pub(super) struct Server {
    pub(super) listen: Text,
    pub(super) allowed_origins: Option<At<Vec<At<String>>>>,
    pub(super) password_file: Text,
    pub(super) behind_proxy: Option<At<Vec<At<String>>>>,
    pub(super) tls_cert: Text,
    pub(super) tls_key: Text,
    pub(super) public_url: Text,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) path: Text,
    pub(super) retention_days: Option<At<i64>>,
    pub(super) tape_days: Option<At<i64>>,
    pub(super) tape_mib: Option<At<i64>>,
}

#[derive(Debug, Default)]
pub(super) struct Tiers {
    pub(super) live: Text,
    pub(super) critical: Text,
    pub(super) important: Text,
    pub(super) routine: Text,
    pub(super) background: Text,
}

#[derive(Debug)]
pub(super) struct Cluster {
    /// The table, for what is missing in it.
    pub(super) place: Place,
    pub(super) name: Text,
    pub(super) endpoints: Option<At<Vec<Endpoint>>>,
    pub(super) token_id: Text,
    pub(super) token_secret: SecretAt,
    pub(super) act_token_id: Text,
    pub(super) act_token_secret: SecretAt,
    pub(super) ca_file: Text,
    pub(super) fingerprint: Text,
    pub(super) insecure: Option<At<bool>>,
    pub(super) ignore: Option<At<Vec<At<String>>>>,
    pub(super) protect: Option<At<Vec<At<String>>>>,
    pub(super) own: Text,
    pub(super) magic_packet_to: Text,
    pub(super) temperature: Option<Temperature>,
}

/// The places where a secret may lie.
#[derive(Debug)]
pub(super) struct SecretAt {
    pub(super) file: Text,
    pub(super) env: Text,
    pub(super) plain: Option<At<Secret>>,
}

#[derive(Debug)]
pub(super) struct Temperature {
    /// The table, for what is missing in it.
    pub(super) place: Place,
    pub(super) source: Text,
    pub(super) url: Text,
    pub(super) user: Text,
    pub(super) key_file: Text,
}

#[derive(Debug)]
pub(super) struct Endpoint {
    /// Absent only in a table that forgot it, which has been said by then.
    pub(super) url: Text,
    pub(super) fingerprint: Text,
}

#[derive(Debug, Default)]
pub(super) struct Thresholds {
    pub(super) disk: Option<Marks>,
    pub(super) memory: Option<Marks>,
    pub(super) cpu: Option<Marks>,
    pub(super) storage: Option<Marks>,
    pub(super) temperature: Option<Marks>,
}

#[derive(Debug)]
pub(super) struct Marks {
    pub(super) place: Place,
    pub(super) high: Option<At<f64>>,
    pub(super) critical: Option<At<f64>>,
    pub(super) clear: Option<At<f64>>,
    pub(super) pending: Text,
}

#[derive(Debug)]
pub(super) struct ThresholdsFor {
    pub(super) place: Place,
    pub(super) cluster: Text,
    pub(super) subject: Text,
    pub(super) marks: Thresholds,
}

pub(super) fn read(document: &Spanned<DeTable<'_>>, problems: &mut Problems<'_>) -> Typed {
    let mut root = Table::root(document);
    let mut typed = Typed {
        server: root.table("server", problems).map(|table| server(table, problems)).unwrap_or_default(),
        store: root.table("store", problems).map(|table| store(table, problems)).unwrap_or_default(),
        autonomy: root.table("autonomy", problems).map(|table| autonomy(table, problems)).unwrap_or_default(),
        tiers: root.table("tiers", problems).map(|table| tiers(table, problems)).unwrap_or_default(),
        clusters: root
            .tables("cluster", problems)
            .into_iter()
            .map(|table| cluster(table, problems))
            .collect(),
        ..Typed::default()
    };
    if let Some(table) = root.table("thresholds", problems) {
        (typed.thresholds, typed.thresholds_for) = all_thresholds(table, problems);
    }
    let runbooks = root.tables("runbook", problems).into_iter();
    typed.runbooks = runbooks.map(|table| runbook(table, problems)).collect();
    typed.mail = root.table("mail", problems).map(|table| mail(table, problems));
    let webhooks = root.tables("webhook", problems).into_iter();
    typed.webhooks = webhooks.map(|table| webhook(table, problems)).collect();
    root.finish(problems);
    typed
}

fn autonomy(mut table: Table<'_>, problems: &mut Problems<'_>) -> Autonomy {
    let autonomy =
        Autonomy { level: table.integer("level", problems), standby: table.boolean("standby", problems) };
    table.finish(problems);
    autonomy
}

fn mail(mut table: Table<'_>, problems: &mut Problems<'_>) -> Mail {
    let mail = Mail {
        place: table.place(),
        host: table.string("host", problems),
        port: table.integer("port", problems),
        tls: table.string("tls", problems),
        from: table.string("from", problems),
        to: table.strings("to", problems),
        user: table.string("user", problems),
        password: SecretAt {
            file: table.string("password_file", problems),
            env: table.string("password_env", problems),
            plain: None,
        },
        ca_file: table.string("ca_file", problems),
        least: table.string("least", problems),
    };
    table.finish(problems);
    mail
}

fn webhook(mut table: Table<'_>, problems: &mut Problems<'_>) -> Webhook {
    let webhook = Webhook {
        place: table.place(),
        name: table.string("name", problems),
        url: table.string("url", problems),
        secret: SecretAt {
            file: table.string("secret_file", problems),
            env: table.string("secret_env", problems),
            plain: None,
        },
        ca_file: table.string("ca_file", problems),
        least: table.string("least", problems),
    };
    table.finish(problems);
    webhook
}

fn runbook(mut table: Table<'_>, problems: &mut Problems<'_>) -> Runbook {
    let runbook = Runbook {
        place: table.place(),
        id: table.string("id", problems),
        cluster: table.string("cluster", problems),
        condition: table.string("condition", problems),
        only: table.strings("match", problems),
        action: table.string("action", problems),
        level: table.integer("level", problems),
        attempts: table.integer("attempts", problems),
        window: table.string("window", problems),
        cooldown: table.string("cooldown", problems),
        grace: table.string("grace", problems),
        first_look: table.string("first_look", problems),
        verify_for: table.string("verify_for", problems),
        verify_within: table.string("verify_within", problems),
    };
    table.finish(problems);
    runbook
}

fn server(mut table: Table<'_>, problems: &mut Problems<'_>) -> Server {
    let server = Server {
        listen: table.string("listen", problems),
        allowed_origins: table.strings("allowed_origins", problems),
        password_file: table.string("password_file", problems),
        behind_proxy: table.strings("behind_proxy", problems),
        tls_cert: table.string("tls_cert", problems),
        tls_key: table.string("tls_key", problems),
        public_url: table.string("public_url", problems),
    };
    table.finish(problems);
    server
}

fn store(mut table: Table<'_>, problems: &mut Problems<'_>) -> Store {
    let store = Store {
        path: table.string("path", problems),
        retention_days: table.integer("retention_days", problems),
        tape_days: table.integer("tape_days", problems),
        tape_mib: table.integer("tape_mib", problems),
    };
    table.finish(problems);
    store
}

fn tiers(mut table: Table<'_>, problems: &mut Problems<'_>) -> Tiers {
    let tiers = Tiers {
        live: table.string("live", problems),
        critical: table.string("critical", problems),
        important: table.string("important", problems),
        routine: table.string("routine", problems),
        background: table.string("background", problems),
    };
    table.finish(problems);
    tiers
}

fn cluster(mut table: Table<'_>, problems: &mut Problems<'_>) -> Cluster {
    let secret = |at: At<String>| At { value: Secret::new(at.value), place: at.place };
    let cluster = Cluster {
        place: table.place(),
        name: table.string("name", problems),
        endpoints: table.mixed("endpoints", problems).map(|list| At {
            value: list.value.into_iter().map(|item| endpoint(item, problems)).collect(),
            place: list.place,
        }),
        token_id: table.string("token_id", problems),
        token_secret: SecretAt {
            file: table.string("token_secret_file", problems),
            env: table.string("token_secret_env", problems),
            plain: table.string("token_secret", problems).map(secret),
        },
        act_token_id: table.string("act_token_id", problems),
        act_token_secret: SecretAt {
            file: table.string("act_token_secret_file", problems),
            env: table.string("act_token_secret_env", problems),
            plain: table.string("act_token_secret", problems).map(secret),
        },
        ca_file: table.string("ca_file", problems),
        fingerprint: table.string("fingerprint", problems),
        insecure: table.boolean("insecure", problems),
        ignore: table.strings("ignore", problems),
        protect: table.strings("protect", problems),
        own: table.string("self", problems),
        magic_packet_to: table.string("magic_packet_to", problems),
        temperature: table.table("temperature", problems).map(|table| temperature(table, problems)),
    };
    table.finish(problems);
    cluster
}

fn temperature(mut table: Table<'_>, problems: &mut Problems<'_>) -> Temperature {
    let temperature = Temperature {
        place: table.place(),
        source: table.string("source", problems),
        url: table.string("url", problems),
        user: table.string("user", problems),
        key_file: table.string("key_file", problems),
    };
    table.finish(problems);
    temperature
}

fn endpoint(item: Mixed<'_>, problems: &mut Problems<'_>) -> Endpoint {
    let mut table = match item {
        Mixed::Text(url) => return Endpoint { url: Some(url), fingerprint: None },
        Mixed::Table(table) => table,
    };
    let endpoint =
        Endpoint { url: table.string("url", problems), fingerprint: table.string("fingerprint", problems) };
    if endpoint.url.is_none() {
        problems.add(
            &table.missing("url"),
            "is missing: write { url = \"https://HOST:8006\", fingerprint = \"AB:CD:...\" }",
        );
    }
    table.finish(problems);
    endpoint
}

fn all_thresholds(mut table: Table<'_>, problems: &mut Problems<'_>) -> (Thresholds, Vec<ThresholdsFor>) {
    let own =
        table.tables("for", problems).into_iter().map(|table| thresholds_for(table, problems)).collect();
    let general = thresholds(&mut table, problems);
    table.finish(problems);
    (general, own)
}

fn thresholds_for(mut table: Table<'_>, problems: &mut Problems<'_>) -> ThresholdsFor {
    let own = ThresholdsFor {
        place: table.place(),
        cluster: table.string("cluster", problems),
        subject: table.string("subject", problems),
        marks: thresholds(&mut table, problems),
    };
    table.finish(problems);
    own
}

fn thresholds(table: &mut Table<'_>, problems: &mut Problems<'_>) -> Thresholds {
    Thresholds {
        disk: table.table("disk", problems).map(|table| marks(table, problems)),
        memory: table.table("memory", problems).map(|table| marks(table, problems)),
        cpu: table.table("cpu", problems).map(|table| marks(table, problems)),
        storage: table.table("storage", problems).map(|table| marks(table, problems)),
        temperature: table.table("temperature", problems).map(|table| marks(table, problems)),
    }
}

fn marks(mut table: Table<'_>, problems: &mut Problems<'_>) -> Marks {
    let marks = Marks {
        place: table.place(),
        high: table.number("high", problems),
        critical: table.number("critical", problems),
        clear: table.number("clear", problems),
        pending: table.string("pending", problems),
    };
    table.finish(problems);
    marks
}
