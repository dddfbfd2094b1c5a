//! Letter: one message, in the words of each way: a mail's subject, text and HTML, a webhook's JSON.
//!
//! A function of what was put into the outbox, so that a second try says the same. Names, notes and errors in it are of
//! others' making: they are on one line each, escaped, and never part of a header as they are.

use engine::report::Severity;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::record::{Content, severity_from_word};
use crate::words::plain;

/// Longest subject, in signs: what a list of mails shows.
const SUBJECT_MAX: usize = 120;

/// What is sent as one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Its identity, the same at each try.
    pub message: Uuid,
    /// What it is for.
    pub kind: Kind,
    /// When the first event in it was put in.
    pub made: Timestamp,
    /// What it tells, oldest first.
    pub contents: Vec<Content>,
    /// Events that were given up since the last message that was accepted.
    pub untold: u64,
    /// Where Jarvis's page is, without a slash at the end.
    pub public_url: Option<String>,
}

/// What a letter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// People are called, or what they were called for is over.
    Call,
    /// What happened.
    Report,
    /// Somebody tries whether it arrives.
    Test,
}

impl Letter {
    /// One that tells nothing.
    pub fn test(message: Uuid, at: Timestamp, public_url: Option<String>) -> Letter {
        Letter { message, kind: Kind::Test, made: at, contents: Vec::new(), untold: 0, public_url }
    }

    /// A mail's subject: short, on one line, what and where first.
    pub fn subject(&self) -> String {
        let subject = match (self.kind, &self.contents[..]) {
            (Kind::Test, _) => "Jarvis: a test".to_owned(),
            (Kind::Call, [content, ..]) => {
                let head = if content.over { "Jarvis, over" } else { "JARVIS NEEDS YOU" };
                format!("{head}: {}", about(content))
            }
            (Kind::Report, [content]) => format!("Jarvis: {}{}", cluster(content), content.title),
            (Kind::Call | Kind::Report, contents) => {
                let worst = contents.iter().max_by_key(|content| severity(content));
                let worst = worst.map(|content| format!(", {}{}", cluster(content), content.title));
                format!("Jarvis: {} events{}", contents.len(), worst.unwrap_or_default())
            }
        };
        let subject = plain(&subject).into_owned();
        match subject.chars().count() {
            0..=SUBJECT_MAX => subject,
            _ => subject.chars().take(SUBJECT_MAX - 1).chain(['…']).collect(),
        }
    }

    /// The mail as plain text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        match self.kind {
            Kind::Test => line(&mut text, TEST),
            Kind::Call => self.contents.iter().for_each(|content| self.call_text(&mut text, content)),
            Kind::Report => self.contents.iter().for_each(|content| self.event_text(&mut text, content)),
        }
        if let Some(words) = self.untold_words() {
            line(&mut text, &words);
        }
        text
    }

    fn call_text(&self, text: &mut String, content: &Content) {
        line(text, &format!("{}.", sentence(content)));
        line(text, "");
        line(text, &facts(content));
        if let Some(link) = self.link(content) {
            line(text, &link);
        }
        if !content.story.is_empty() {
            line(text, "");
            line(text, STORY);
            line(text, "");
        }
        if content.story_left_out > 0 {
            line(text, &left_out(content));
        }
        for step in &content.story {
            line(text, &format!("{}  {:<10} {}", time(step.at), plain(&step.kind), plain(&step.words)));
        }
        let orders = orders(content);
        if !orders.is_empty() {
            line(text, "");
            line(text, WAITS);
            line(text, "");
            orders.iter().for_each(|(command, what)| line(text, &format!("  {command:<56}{what}")));
        }
        line(text, "");
    }

    fn event_text(&self, text: &mut String, content: &Content) {
        let title = plain(&content.title);
        let head = format!("{}  {:<9} {}{title}", time(content.at), word(content), cluster(content));
        line(text, &head);
        line(text, &format!("    {}", plain(&content.message)));
        if let Some(link) = self.link(content) {
            line(text, &format!("    {link}"));
        }
        line(text, "");
    }

    /// The mail as HTML: without pictures, scripts or anything that is loaded.
    pub fn html(&self) -> String {
        let mut html = String::from("<!DOCTYPE html><html><body style=\"font-family:sans-serif\">");
        match self.kind {
            Kind::Test => html.push_str(&format!("<p>{}</p>", escaped(TEST))),
            Kind::Call => self.contents.iter().for_each(|content| self.call_html(&mut html, content)),
            Kind::Report => {
                html.push_str("<table cellpadding=\"4\">");
                self.contents.iter().for_each(|content| self.event_html(&mut html, content));
                html.push_str("</table>");
            }
        }
        if let Some(words) = self.untold_words() {
            html.push_str(&format!("<p>{}</p>", escaped(&words)));
        }
        html.push_str("</body></html>\n");
        html
    }

    fn call_html(&self, html: &mut String, content: &Content) {
        html.push_str(&format!("<p><b>{}.</b></p>", escaped(&sentence(content))));
        html.push_str(&format!("<p>{}</p>", escaped(&facts(content))));
        if let Some(link) = self.link(content) {
            html.push_str(&format!("<p>{}</p>", anchor(&link)));
        }
        if !content.story.is_empty() {
            html.push_str(&format!("<p>{}</p><table cellpadding=\"4\">", escaped(STORY)));
            if content.story_left_out > 0 {
                html.push_str(&format!("<tr><td colspan=\"3\">{}</td></tr>", escaped(&left_out(content))));
            }
            for step in &content.story {
                let (at, kind, words) = (time(step.at), escaped(&step.kind), escaped(&step.words));
                html.push_str(&format!("<tr><td>{at}</td><td>{kind}</td><td>{words}</td></tr>"));
            }
            html.push_str("</table>");
        }
        let orders = orders(content);
        if !orders.is_empty() {
            html.push_str(&format!("<p>{}</p><table cellpadding=\"4\">", escaped(WAITS)));
            for (command, what) in orders {
                let (command, what) = (escaped(&command), escaped(what));
                html.push_str(&format!("<tr><td><code>{command}</code></td><td>{what}</td></tr>"));
            }
            html.push_str("</table>");
        }
    }

    fn event_html(&self, html: &mut String, content: &Content) {
        let (at, word, title) = (time(content.at), word(content), escaped(&content.title));
        let (cluster, message) = (escaped(&cluster(content)), escaped(&content.message));
        let link = self.link(content).map(|link| format!("<br>{}", anchor(&link))).unwrap_or_default();
        html.push_str(&format!(
            "<tr valign=\"top\"><td>{at}</td><td>{word}</td><td><b>{cluster}{title}</b><br>{message}{link}</td></tr>"
        ));
    }

    /// A webhook's body: type, timestamp and data, as Standard Webhooks has them.
    pub fn json(&self) -> String {
        let kind = match self.kind {
            Kind::Call => "jarvis.call",
            Kind::Report => "jarvis.report",
            Kind::Test => "jarvis.test",
        };
        let events: Vec<serde_json::Value> =
            self.contents.iter().map(|content| self.event_json(content)).collect();
        let data = json!({ "events": events, "givenUp": self.untold });
        json!({ "type": kind, "timestamp": format!("{:.3}", self.made), "data": data }).to_string()
    }

    fn event_json(&self, content: &Content) -> serde_json::Value {
        // Plain data with strings as its keys: there is nothing in it that JSON could not say.
        let mut event = serde_json::to_value(content).unwrap_or_default();
        if let (Some(link), Some(event)) = (self.link(content), event.as_object_mut()) {
            event.insert("link".into(), link.into());
        }
        event
    }

    fn link(&self, content: &Content) -> Option<String> {
        let (base, id) = (self.public_url.as_deref()?, content.incident_id.as_deref()?);
        // An id is a UUID; one that is not came from somewhere else.
        let plain = id.chars().all(|sign| sign.is_ascii_hexdigit() || sign == '-');
        plain.then(|| format!("{base}/incidents/{id}"))
    }

    fn untold_words(&self) -> Option<String> {
        match self.untold {
            0 => None,
            1 => Some("1 earlier event could not be told and is given up: `jarvis events` has it.".into()),
            n => Some(format!(
                "{n} earlier events could not be told and are given up: `jarvis events` has them."
            )),
        }
    }
}

const TEST: &str = "This is a test: what Jarvis has to tell arrives here.";
const STORY: &str = "What happened (times are UTC):";
const WAITS: &str = "Jarvis does nothing more about it until it is over, or somebody says so:";

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

/// `lab: VM_CRASHED web01 (qemu/101) on pve1`; of what is no incident its title.
fn about(content: &Content) -> String {
    let (Some(condition), Some(subject)) = (&content.condition, &content.subject) else {
        return format!("{}{}", cluster(content), content.title);
    };
    let name = match &content.target {
        Some(target) if !subject.ends_with(target.as_str()) => format!("{target} ({subject})"),
        Some(_) | None => subject.clone(),
    };
    let place = match &content.node {
        Some(node) if !subject.contains(node.as_str()) => format!(" on {node}"),
        Some(_) | None => String::new(),
    };
    format!("{}{condition} {name}{place}", cluster(content))
}

fn cluster(content: &Content) -> String {
    content.cluster.as_deref().map(|cluster| format!("{}: ", plain(cluster))).unwrap_or_default()
}

fn sentence(content: &Content) -> String {
    plain(content.message.trim_end_matches('.')).into_owned()
}

fn facts(content: &Content) -> String {
    let facts = format!("{}; {}, {} UTC", about(content), word(content), time(content.at));
    plain(&facts).into_owned()
}

fn left_out(content: &Content) -> String {
    let id = content.incident_id.as_deref().unwrap_or_default();
    format!("({} earlier lines: jarvis why {id})", content.story_left_out)
}

/// What an operator may say of an incident that waits for people.
fn orders(content: &Content) -> Vec<(String, &'static str)> {
    let (Some(id), false) = (&content.incident_id, content.over) else { return Vec::new() };
    let orders = [
        ("approve", "try once more, within every guardrail"),
        ("acknowledge", "somebody has seen it"),
        ("resolve", "it is over, whatever is still so"),
    ];
    orders.map(|(order, what)| (format!("jarvis {order} {}", plain(id)), what)).into()
}

fn severity(content: &Content) -> Severity {
    severity_from_word(&content.severity).unwrap_or(Severity::Info)
}

/// How bad, or that it is over.
fn word(content: &Content) -> &'static str {
    if content.over { "resolved" } else { severity(content).as_str() }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn anchor(link: &str) -> String {
    let link = escaped(link);
    format!("<a href=\"{link}\">{link}</a>")
}

/// A text inside of HTML, and inside of an attribute in quotes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for sign in plain(text).chars() {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            sign => escaped.push(sign),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
