//! Mail: a letter to one address, over SMTP.
//!
//! lettre's connection is used step by step, because what a refusal means depends on the step: a wrong password,
//! certificate or sender is mended by somebody and tried again, a refused address or letter never will be.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::{Address, Message};
use tokio::sync::{Semaphore, oneshot};

use super::letter::Letter;
use super::plan::Of;
use super::{Sent, Unsent, Why};
use crate::config;
use crate::words::plain;

/// Longest wait for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Longest time for a whole letter: some servers look through it for half a minute before they take it.
const WITHIN: Duration = Duration::from_secs(60);

/// Letters that are handed over at once, each on a thread.
static THREADS: Semaphore = Semaphore::const_new(1);

/// Sends letters to one address.
#[derive(Clone)]
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

#[derive(Clone)]
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
        let late = || Unsent::failed(format!("the server takes longer than {} s", WITHIN.as_secs()));
        match tokio::time::timeout(WITHIN, self.apart(message)).await {
            Ok(outcome) => outcome?,
            Err(_) => Err(late()),
        }
    }

    /// On a thread of its own: over an answer that has no end the library reads on and on without a pause, and the daemon must go on
    /// meanwhile. There is one such thread, so that this costs one processor at the most.
    async fn apart(&self, message: Message) -> Result<Result<Sent, Unsent>, Unsent> {
        let gone = || Unsent::failed("the thread that talks to the server ended".into());
        let turn = THREADS.acquire().await.map_err(|_closed| gone())?;
        let (mailer, (tell, told)) = (self.clone(), oneshot::channel());
        let talk = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let outcome = match runtime {
                Ok(runtime) => runtime.block_on(async {
                    let handed = tokio::time::timeout(WITHIN, mailer.hand_over(&message)).await;
                    handed.unwrap_or_else(|_| Err(Unsent::failed("the server took too long".into())))
                }),
                Err(error) => Err(Unsent::failed(format!("no thread can talk to the server: {error}"))),
            };
            drop(turn);
            if tell.send(outcome).is_err() {
                tracing::debug!("nobody waits for this letter any more");
            }
        };
        let thread = std::thread::Builder::new().name("mail".into()).spawn(talk);
        thread.map_err(|error| Unsent::failed(format!("no thread can be made: {error}")))?;
        told.await.map_err(|_ended| gone())
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
        let outcome = pass(&mut connection, message).await;
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

/// Hands a letter over to a server that let us in.
async fn pass(connection: &mut AsyncSmtpConnection, message: &Message) -> Result<Sent, Unsent> {
    let (envelope, letter) = (message.envelope(), message.formatted());
    let mut options = Vec::new();
    let mut addresses = envelope.from().into_iter().chain(envelope.to());
    if addresses.any(|address| !AsRef::<str>::as_ref(address).is_ascii()) {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(Unsent::failed("the server takes no address with other signs than ASCII's".into()));
        }
        options.push(MailParameter::SmtpUtfEight);
    }
    if !letter.is_ascii() {
        if !connection.server_info().supports_feature(Extension::EightBitMime) {
            return Err(Unsent::not_this("the server takes no letter with other signs than ASCII's".into()));
        }
        options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let sender = Mail::new(envelope.from().cloned(), options);
    connection.command(sender).await.map_err(|error| not_taken(Step::Sender, &error))?;
    for to in envelope.to() {
        let address = Rcpt::new(to.clone(), Vec::new());
        connection.command(address).await.map_err(|error| not_taken(Step::Address, &error))?;
    }
    connection.command(Data).await.map_err(|error| not_taken(Step::Letter, &error))?;
    let response = connection.message(&letter).await.map_err(|error| not_taken(Step::Letter, &error))?;
    let said: Vec<&str> = response.message().collect();
    Ok(Sent { said: words(&format!("{} {}", response.code(), said.join(" "))) })
}

/// What the server was asked to take.
#[derive(Clone, Copy)]
enum Step {
    /// Mail from us: who refuses that refuses every letter.
    Sender,
    /// The address, which is the channel's.
    Address,
    /// The letter.
    Letter,
}

fn not_taken(step: Step, error: &lettre::transport::smtp::Error) -> Unsent {
    let why = why(step, error.status().map(u16::from));
    let what = match why {
        Why::Refused => "the server refuses it",
        Why::Failed(_) => "the server does not take it",
    };
    Unsent { words: format!("{what}: {}", words(&error.to_string())), why }
}

/// What an answer means, or that there is none. Who may send, relaying and a full mailbox are mended by somebody; an
/// address that does not exist, and a letter that is not liked, are not.
fn why(step: Step, code: Option<u16>) -> Why {
    match (step, code) {
        (Step::Address, Some(550 | 551 | 553)) | (Step::Letter, Some(500..=599)) => Why::Refused,
        (Step::Sender | Step::Address, _) => Why::Failed(Of::Channel),
        (Step::Letter, _) => Why::Failed(Of::Message),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_refusal_means() {
        let (channel, message) = (Why::Failed(Of::Channel), Why::Failed(Of::Message));
        #[rustfmt::skip]
        let table = [
            ("nobody may send without a login",       Step::Sender,  Some(530), channel),
            ("this sender may not",                   Step::Sender,  Some(550), channel),
            ("our machine may not",                   Step::Sender,  Some(554), channel),
            ("the server is busy",                    Step::Sender,  Some(451), channel),
            ("there is no such address",              Step::Address, Some(550), Why::Refused),
            ("it has moved",                          Step::Address, Some(551), Why::Refused),
            ("it is no address",                      Step::Address, Some(553), Why::Refused),
            ("its mailbox is full",                   Step::Address, Some(552), channel),
            ("nothing is relayed to it",              Step::Address, Some(554), channel),
            ("it is to come again later",             Step::Address, Some(450), channel),
            ("the letter is not liked",               Step::Letter,  Some(554), Why::Refused),
            ("it is too long",                        Step::Letter,  Some(552), Why::Refused),
            ("it is to come again later, as it is",   Step::Letter,  Some(451), message),
            ("the connection breaks in it",           Step::Letter,  None,      message),
            ("the connection breaks before it",       Step::Sender,  None,      channel),
        ];
        for (name, step, code, expected) in table {
            assert_eq!(why(step, code), expected, "{name}");
        }
    }
}
