//! Quiet: which of what is shown people are not told of, or nothing is done about, and by whose word.

use std::collections::BTreeMap;

use engine::decide::Known;
use engine::observe::{GuestId, Subject};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::shape::Time;
use crate::record::{IncidentRow, Muted, Mutes, NoticeKind, Telling};
use crate::report::page::GuestMarks;
use crate::report::problem::Problem;
use crate::report::web::App;

/// Why people are not told of an incident, or nothing is done about it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::report::v1) struct Announced {
    /// What was announced: the UUID of the maintenance or silence.
    #[schema(value_type = uuid::Uuid)]
    id: String,
    /// Who announced it.
    by: String,
    /// Until then, as it holds now.
    until: Time,
    /// What for.
    note: String,
}

impl Announced {
    fn of(muted: &Muted) -> Announced {
        let Muted { notice, until } = muted;
        Announced {
            id: notice.id.to_string(),
            by: notice.by.clone(),
            until: Time(*until),
            note: notice.note.clone(),
        }
    }
}

/// What holds now, to be asked about many incidents.
pub(in crate::report::v1) struct Quiet<'a> {
    mutes: Mutes,
    /// Of each cluster, how its guests are marked.
    guests: BTreeMap<(&'a str, GuestId), GuestMarks>,
}

impl<'a> Quiet<'a> {
    pub(in crate::report::v1) async fn read(app: &'a App) -> Result<Quiet<'a>, Problem> {
        let now = app.live.now();
        let mutes = Mutes::at(app.store.open_notices(None, now).await?, now);
        let mut guests = BTreeMap::new();
        if mutes.by_marks() {
            for (name, page) in &app.pages {
                let rows = page.guests().map(|guests| guests.rows);
                let rows = rows.iter().flat_map(|rows| rows.iter());
                guests.extend(rows.map(|row| ((name.as_str(), row.id), row.marks.clone())));
            }
        }
        Ok(Quiet { mutes, guests })
    }

    pub(in crate::report::v1) fn of(&self, kind: NoticeKind, row: &IncidentRow) -> Option<Announced> {
        if row.resolved.is_some() {
            return None;
        }
        let subject: Subject = row.subject.parse().ok()?;
        let marks = match &subject {
            Subject::Guest(id) => self.guests.get(&(row.cluster.as_str(), *id)),
            Subject::Cluster | Subject::Node(_) | Subject::Storage(_) | Subject::Service(_) => None,
        };
        let node = row.node.as_deref().and_then(|node| node.parse().ok());
        let known = Known {
            subject: &subject,
            node: node.as_ref(),
            name: row.name.as_deref(),
            tags: marks.map_or(&[], |marks| &marks.tags),
            pool: marks.and_then(|marks| marks.pool.as_deref()),
        };
        let telling =
            Telling { cluster: &row.cluster, condition: Some(&row.condition), known, calls_people: false };
        self.mutes.of(kind, &telling).map(Announced::of)
    }
}
