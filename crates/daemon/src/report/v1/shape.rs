//! Shapes that several answers share: times, words, JSON as it was stored.

use engine::observe::Subject;
use engine::report as told;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::record::{self, sound_json};
use crate::report::web::App;

/// A time: ISO 8601 in UTC, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00.000Z")]
pub(super) struct Time(pub(super) Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident of $from:path { $($(#[$word_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
        // Not each by its word: what a macro was given, the document's derive does not read.
        #[serde(rename_all = "lowercase")]
        pub(super) enum $name {
            $($(#[$word_doc])* $variant),+
        }

        impl $name {
            /// Each word with what it stands for.
            #[allow(dead_code, reason = "not every word is a filter")]
            pub(super) const ALL: &[(&str, $from)] = &[$(($word, <$from>::$variant)),+];
        }

        impl $name {
            /// What it stands for.
            #[allow(dead_code, reason = "not every word is a filter")]
            pub(super) fn inner(self) -> $from {
                match self {
                    $($name::$variant => <$from>::$variant),+
                }
            }
        }

        impl From<$from> for $name {
            fn from(value: $from) -> $name {
                match value {
                    $(<$from>::$variant => $name::$variant),+
                }
            }
        }
    };
}

words! {
    /// What kind of message an event is.
    EventType of told::EventKind {
        /// Something a person should know.
        Alert = "alert",
        /// Something that Jarvis does.
        Action = "action",
        /// How things are.
        Status = "status",
        /// A number.
        Metric = "metric",
    }
}

words! {
    /// How bad.
    Severity of told::Severity {
        /// News.
        Info = "info",
        /// To be looked at.
        Warning = "warning",
        /// Broken.
        Error = "error",
        /// Broken badly.
        Critical = "critical",
    }
}

words! {
    /// Who an event comes from.
    Source of record::Source {
        /// Jarvis watching.
        Monitor = "monitor",
        /// A person.
        User = "user",
        /// Jarvis speaking.
        Jarvis = "jarvis",
        /// The daemon about itself.
        System = "system",
    }
}

words! {
    /// How an attempt of Jarvis ended.
    ActionResult of record::ActionResult {
        /// Seen to have helped.
        Success = "success",
        /// Seen not to have helped, or refused by PVE.
        Failure = "failure",
        /// Not done: a guardrail objected.
        Blocked = "blocked",
        /// Handed to a person.
        Escalated = "escalated",
    }
}

words! {
    /// How an incident ended.
    Resolution of record::Resolution {
        /// The finding is gone.
        Itself = "itself",
        /// The subject is gone from the cluster.
        Removed = "removed",
        /// It is not watched any more.
        Unwatched = "unwatched",
        /// It is part of something worse, which is told instead.
        Superseded = "superseded",
        /// What Jarvis did has helped.
        Mended = "mended",
        /// An operator closed it.
        Closed = "closed",
        /// Watching began anew, and what is still wrong was told again.
        Anew = "anew",
    }
}

words! {
    /// Whether a node is a member of its cluster.
    NodeStatus of engine::observe::Presence {
        /// A member, with statistics.
        Online = "online",
        /// No member.
        Offline = "offline",
        /// A member without statistics: not an outage.
        Unknown = "unknown",
    }
}

words! {
    /// The kind of a guest.
    GuestKind of engine::observe::GuestKind {
        /// A virtual machine.
        Qemu = "qemu",
        /// A container.
        Lxc = "lxc",
    }
}

/// JSON text as the value that it is, or, where it is none, as a string of that text.
pub(super) fn json(text: &str) -> Option<Box<RawValue>> {
    if let Some(value) = sound_json(text) {
        return Some(value.to_owned());
    }
    serde_json::value::to_raw_value(text).ok()
}

/// An incident's key (`VM_CRASHED:101`); of clusters after the first with the cluster before it.
pub(super) fn key(app: &App, cluster: &str, condition: &str, subject: &str) -> String {
    let subject = subject.parse::<Subject>().map_or_else(|_| subject.to_owned(), |subject| subject.key());
    let first = app.pages.first().is_some_and(|(first, _)| first.as_str() == cluster);
    if first { format!("{condition}:{subject}") } else { format!("{cluster}/{condition}:{subject}") }
}
