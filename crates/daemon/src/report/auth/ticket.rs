//! Ticket: lets one connection of sockets in, for a page whose login lies in a cookie that sockets must not be believed.
//!
//! A ticket belongs to the first connection that shows it. That connection may show it in each of its namespaces, within
//! the ticket's minute; nobody else may, at any time. So a ticket that leaks (into a log, a proxy, a page's history)
//! after its use is worth nothing, and a client that has two namespaces, or three, needs one.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use super::accounts::Pass;
use crate::report::token::Digest;

/// How long a ticket is valid: a page that fetched one connects at once.
pub(crate) const LASTS: SignedDuration = SignedDuration::from_secs(60);
/// Tickets of one login: a page that reconnects in a storm.
const PER_LOGIN: usize = 16;
/// Tickets in all; some 100 bytes each.
const TICKETS_MAX: usize = 10_000;

#[derive(Debug)]
struct Ticket {
    pass: Pass,
    until: Timestamp,
    /// The connection that has shown it.
    connection: Option<Box<str>>,
}

/// Those that may be shown still.
#[derive(Debug, Default)]
pub(super) struct Tickets(HashMap<Digest, Ticket>);

impl Tickets {
    /// False when there is no room. The oldest of the same login go.
    pub(super) fn add(&mut self, digest: Digest, pass: Pass, now: Timestamp) -> bool {
        self.0.retain(|_, ticket| ticket.until > now);
        let mut own: Vec<(Timestamp, Digest)> = self
            .0
            .iter()
            .filter(|(_, ticket)| ticket.pass == pass)
            .map(|(digest, ticket)| (ticket.until, *digest))
            .collect();
        own.sort_unstable();
        let surplus = (own.len() + 1).saturating_sub(PER_LOGIN);
        for (_, digest) in own.into_iter().take(surplus) {
            self.0.remove(&digest);
        }
        if self.0.len() >= TICKETS_MAX {
            return false;
        }
        self.0.insert(digest, Ticket { pass, until: now + LASTS, connection: None });
        true
    }

    /// Whose it is, for a connection.
    pub(super) fn show(&mut self, digest: Digest, connection: &str, now: Timestamp) -> Option<Pass> {
        let ticket = self.0.get_mut(&digest).filter(|ticket| now < ticket.until)?;
        let first = ticket.connection.get_or_insert_with(|| connection.into());
        (**first == *connection).then_some(ticket.pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_for_one_connection_and_a_minute() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let pass = Pass::Session([1; 32]);
        let mut tickets = Tickets::default();
        assert!(tickets.add([7; 32], pass, now));
        let table: [(&str, u8, &str, i64, bool); 7] = [
            ("one that nobody gave", 8, "a", 0, false),
            ("its first connection", 7, "a", 1, true),
            ("another namespace of it", 7, "a", 2, true),
            ("another connection", 7, "b", 3, false),
            ("the first one still", 7, "a", 59, true),
            ("a minute later", 7, "a", 60, false),
            ("and for ever", 7, "b", 3_600, false),
        ];
        for (name, digest, connection, second, expected) in table {
            let shown = tickets.show([digest; 32], connection, now + SignedDuration::from_secs(second));
            assert_eq!(shown.is_some(), expected, "{name}");
        }
    }

    #[test]
    fn a_login_has_only_so_many_and_so_have_all() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let digest = |n: usize| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&n.to_be_bytes());
            digest
        };
        let mut tickets = Tickets::default();
        for n in 0..PER_LOGIN + 1 {
            let later = now + SignedDuration::from_millis(n as i64);
            assert!(tickets.add(digest(n), Pass::Session([1; 32]), later), "{n}");
        }
        assert_eq!(tickets.show(digest(0), "a", now), None, "the oldest went");
        assert!(tickets.show(digest(1), "a", now).is_some());
        let added =
            (0..TICKETS_MAX).filter(|n| tickets.add(digest(100 + n), Pass::Session(digest(*n)), now)).count();
        assert_eq!(added, TICKETS_MAX - PER_LOGIN);
        assert!(
            tickets.add(digest(1), Pass::Session([1; 32]), now + LASTS + LASTS),
            "what is over makes room"
        );
    }
}
