//! Mail: a letter to one address, over SMTP.
//!
//! lettre's connection is used step by step, because what a refusal means depends on the step: a wrong password or
//! certificate is mended by somebody and tried again, a refused address or letter never will be.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message};

use super::letter::Letter;
use super::{Sent, Unsent};
use crate::config;
use crate::words::plain;

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Longest time for a whole letter: some servers look through it for half a minute before they take it.
const WITHIN: Duration = Duration::from_secs(60);

/// Sends letters to one address.
pub(super) struct Mailer {
    server: (String, u16),
    tls: Tls,
    hello: ClientId,
    credentials: Option<Credentials>,
    /// The password, in the forms in which it travels.
    secrets: Vec<config::Secret>,
    from: Mailbox,
    to: Mailbox,
}

enum Tls {
    None,
    Start(TlsParameters),
    Implicit(TlsParameters),
}

/// Says that no answer is wanted from a program (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<AutoSubmitted, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl Mailer {
    /// # Errors
    /// An address, or an authority's certificate that is none although the configuration took it.
    pub(super) fn new(mail: &config::Mail, to: &str) -> anyhow::Result<Mailer> {
        let from: Mailbox = mail.from.parse()?;
        let parameters = || {
            let mut tls = TlsParameters::builder(mail.host.clone());
            if let Some(pem) = &mail.ca_pem {
                tls = tls.certificate_store(CertificateStore::None);
                tls = tls.add_root_certificate(Certificate::from_pem(pem)?);
            }
            tls.build_rustls()
        };
        Ok(Mailer {
            server: (mail.host.clone(), mail.port),
            tls: match mail.tls {
                config::MailTls::None => Tls::None,
                config::MailTls::Starttls => Tls::Start(parameters()?),
                config::MailTls::Implicit => Tls::Implicit(parameters()?),
            },
            // Servers want a name, and our own machine's is often none.
            hello: ClientId::Domain(from.email.domain().to_owned()),
            credentials: mail
                .login
                .as_ref()
                .map(|(user, password)| Credentials::new(user.clone(), password.expose().to_owned())),
            secrets: mail.login.iter().flat_map(|(user, password)| travels_as(user, password)).collect(),
            from,
            to: to.parse()?,
        })
    }

    /// What the server said when it took the letter.
    pub(super) async fn send(&self, letter: &Letter) -> Result<Sent, Unsent> {
        let message = self
            .message(letter)
            .map_err(|error| Unsent::refused(format!("it cannot be written: {error}")))?;
        match tokio::time::timeout(WITHIN, self.hand_over(&message)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Unsent::failed(format!("the server takes longer than {} s", WITHIN.as_secs()))),
        }
    }

    async fn hand_over(&self, message: &Message) -> Result<Sent, Unsent> {
        let server = (self.server.0.as_str(), self.server.1);
        let implicit = match &self.tls {
            Tls::Implicit(tls) => Some(tls.clone()),
            Tls::None | Tls::Start(_) => None,
        };
        let connected =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT_WITHIN), &self.hello, implicit, None);
        let mut connection = connected.await.map_err(|error| failed("the server is not reached", &error))?;
        if let Tls::Start(tls) = &self.tls {
            if !connection.can_starttls() {
                connection.abort().await;
                return Err(Unsent::failed(
                    "the server offers no STARTTLS, and nothing is sent in clear".into(),
                ));
            }
            let started = connection.starttls(tls.clone(), &self.hello).await;
            started.map_err(|error| failed("STARTTLS failed", &error))?;
        }
        if let Some(credentials) = &self.credentials {
            let logged_in = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            logged_in.map_err(|error| self.not_let_in(&error))?;
        }
        let taken = connection.send(message.envelope(), &message.formatted()).await;
        let outcome = match taken {
            Ok(response) => {
                let said: Vec<&str> = response.message().collect();
                Ok(Sent { said: words(&format!("{} {}", response.code(), said.join(" "))) })
            }
            Err(error) if error.is_permanent() => {
                Err(Unsent::refused(format!("the server refuses it: {}", words(&error.to_string()))))
            }
            Err(error) => Err(failed("the server does not take it", &error)),
        };
        connection.abort().await;
        outcome
    }

    /// In the server's words, but for the password, should it say that back.
    fn not_let_in(&self, error: &lettre::transport::smtp::Error) -> Unsent {
        let said = words(&error.to_string());
        let repeats = self.secrets.iter().any(|secret| said.contains(secret.expose()));
        let said = if repeats { "its answer repeats the password and is not shown".into() } else { said };
        Unsent::failed(format!("the server does not let us log in: {said}"))
    }

    fn message(&self, letter: &Letter) -> Result<Message, lettre::error::Error> {
        let since_1970 = Duration::from_secs(letter.made.as_second().try_into().unwrap_or_default());
        Message::builder()
            .from(self.from.clone())
            .to(self.to.clone())
            .subject(letter.subject())
            .date(SystemTime::UNIX_EPOCH + since_1970)
            .message_id(Some(format!("<{}@{}>", letter.message, self.from.email.domain())))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(letter.text(), letter.html()))
    }
}

fn failed(what: &str, error: &lettre::transport::smtp::Error) -> Unsent {
    Unsent::failed(format!("{what}: {}", words(&error.to_string())))
}

/// The password as it is, and as AUTH PLAIN and LOGIN send it.
fn travels_as(user: &str, password: &config::Secret) -> [config::Secret; 3] {
    let plain = STANDARD.encode(format!("\0{user}\0{}", password.expose()));
    let login = STANDARD.encode(password.expose());
    [password.clone(), config::Secret::new(plain), config::Secret::new(login)]
}

/// What a server says, on one line.
fn words(said: &str) -> String {
    plain(said.trim()).into_owned()
}

/// An address as it is configured: `admin@example.org`, or `Jarvis <jarvis@example.org>`.
pub(crate) fn address(text: &str) -> Option<String> {
    let mailbox: Mailbox = text.parse().ok()?;
    let address: &Address = &mailbox.email;
    Some(address.to_string())
}
