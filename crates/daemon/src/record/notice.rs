//! Notices: what operators announce. Work on something, in which nothing is done about it (maintenance), and what people are
//! not to be told of (silences).
//!
//! One transaction stores a notice, its row of the journal and the event that tells every screen (ADR 17). It is never
//! changed: it ends by itself or by somebody's word, and stays readable as what was announced then.
//!
//! What cannot be read is taken for the safe thing: work that goes on until somebody ends it, and a silence about nothing.

use engine::about::About;
use engine::observe::Subject;
use engine::report::{EventKind, Severity};
use engine::window::{MINUTES_MAX, Span, Weekly};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqliteExecutor};
use uuid::Uuid;

use super::chain::Signer;
use super::change::{SaveTurn, Saved};
use super::new::{NewEntry, NewEvent, Operator};
use super::row::{EventRow, Source};
use super::write::Write;
use super::{Answer, Store, within};
use crate::zone;

/// Most notices of one kind that last or are to come: a person reads the list, and each is asked of each event.
pub const OPEN_MAX: usize = 200;
/// Most notices of one kind that are kept when they are over; the journal has them all.
const OVER_MAX: i64 = 800;
/// Longest note, in bytes.
pub const NOTE_MAX: usize = 500;
/// Longest name of who it was, in bytes.
const NAME_MAX: usize = 200;

/// Which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Somebody works on it: nothing is done about it, and people are not told.
    Maintenance,
    /// People are not told; what can be done is done.
    Silence,
}

impl NoticeKind {
    /// As stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::Maintenance => "maintenance",
            NoticeKind::Silence => "silence",
        }
    }
}

/// When it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Once.
    Once(Span),
    /// Each week.
    Weekly {
        /// By a clock on a wall.
        weekly: Weekly,
        /// In this zone.
        zone: String,
    },
    /// Nobody can say: somebody else wrote to the row.
    Unclear,
}

/// A notice on its way into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNotice {
    /// Which kind.
    pub kind: NoticeKind,
    /// Where; `None`: in every cluster.
    pub cluster: Option<String>,
    /// What is meant.
    pub about: About,
    /// The condition that a silence is for; `None`: all.
    pub condition: Option<String>,
    /// What for.
    pub note: String,
    /// When it holds.
    pub when: When,
}

/// A notice as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its UUID.
    pub id: Uuid,
    /// Which kind.
    pub kind: NoticeKind,
    /// Where; `None`: in every cluster.
    pub cluster: Option<String>,
    /// What is meant.
    pub about: About,
    /// The condition that a silence is for; `None`: all.
    pub condition: Option<String>,
    /// What for.
    pub note: String,
    /// Who made it.
    pub by: String,
    /// When.
    pub made: Timestamp,
    /// When it holds.
    pub when: When,
    /// When somebody ended it, and who.
    pub ended: Option<(Timestamp, String)>,
}

impl When {
    /// When it holds after `from`, as far as it begins before `until`; not further ahead than a week.
    pub fn within(&self, kind: NoticeKind, from: Timestamp, until: Timestamp) -> Vec<Span> {
        match self {
            When::Once(span) => {
                Some(*span).into_iter().filter(|s| s.until > from && s.from < until).collect()
            }
            When::Weekly { weekly, zone } => match zone::find(zone) {
                Some(zone) => weekly.within(&zone, from, until),
                None => When::Unclear.within(kind, from, until),
            },
            When::Unclear => match kind {
                NoticeKind::Maintenance => vec![Span { from: Timestamp::UNIX_EPOCH, until: Timestamp::MAX }],
                NoticeKind::Silence => Vec::new(),
            },
        }
    }

    /// For people, in UTC where it has no zone of its own.
    pub fn words(&self) -> String {
        match self {
            When::Once(Span { from, until }) => format!("from {} until {}", minute(*from), minute(*until)),
            When::Weekly { weekly: Weekly { days, at, minutes }, zone } => {
                let lasts = engine::record::duration(SignedDuration::from_mins(i64::from(*minutes)));
                format!("each {days} at {} ({zone}) for {lasts}", at.strftime("%H:%M"))
            }
            When::Unclear => "until somebody ends it".into(),
        }
    }
}

/// `2026-12-01 22:00 UTC`
pub fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

impl Notice {
    /// Whether it will not hold any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ended.is_some() || matches!(self.when, When::Once(span) if span.until <= now)
    }

    /// As it holds now, if it does, and when it will next.
    pub fn now_and_next(&self, now: Timestamp) -> (Option<Span>, Option<Span>) {
        if self.is_over(now) {
            return (None, None);
        }
        let ahead = now.checked_add(SignedDuration::from_hours(24 * 8)).unwrap_or(Timestamp::MAX);
        let spans = match &self.when {
            When::Once(span) => vec![*span],
            When::Weekly { .. } | When::Unclear => self.when.within(self.kind, now, ahead),
        };
        let holds = spans.iter().find(|span| span.holds(now)).copied();
        (holds, spans.into_iter().find(|span| span.from > now))
    }

    /// Whether it is about things of a cluster.
    pub fn is_of(&self, cluster: &str) -> bool {
        self.cluster.as_deref().is_none_or(|own| own == cluster)
    }

    fn read(row: &SqliteRow) -> Notice {
        let text = |column: &str| row.try_get::<Option<String>, _>(column).ok().flatten();
        let number = |column: &str| row.try_get::<Option<i64>, _>(column).ok().flatten();
        let time = |column: &str| number(column).and_then(|ms| Timestamp::from_millisecond(ms).ok());
        // Whatever is no silence stops more than one.
        let kind = match text("kind").as_deref() {
            Some("silence") => NoticeKind::Silence,
            Some(_) | None => NoticeKind::Maintenance,
        };
        let about = text("about").and_then(|about| about.parse().ok());
        let weekly = || {
            let minutes = number("minutes").and_then(|minutes| u32::try_from(minutes).ok());
            let minutes = minutes.filter(|minutes| (1..=MINUTES_MAX).contains(minutes))?;
            let weekly =
                Weekly { days: text("days")?.parse().ok()?, at: text("at_local")?.parse().ok()?, minutes };
            Some(When::Weekly { weekly, zone: text("zone")? })
        };
        let once =
            time("from_ms").zip(time("until_ms")).map(|(from, until)| When::Once(Span { from, until }));
        let when = once.or_else(weekly).filter(|_| about.is_some()).unwrap_or(When::Unclear);
        Notice {
            id: text("id").and_then(|id| id.parse().ok()).unwrap_or_default(),
            kind,
            cluster: text("cluster"),
            about: about.unwrap_or(About::Subject(Subject::Cluster)),
            condition: text("condition"),
            note: text("note").unwrap_or_default(),
            by: text("made_by").unwrap_or_default(),
            made: time("made_ms").unwrap_or(Timestamp::UNIX_EPOCH),
            when,
            ended: number("ended_ms").map(|ms| {
                let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
                (at, text("ended_by").unwrap_or_default())
            }),
        }
    }

    /// What the journal says of it.
    fn what(&self) -> Value {
        let when = match &self.when {
            When::Once(Span { from, until }) => json!({ "from": from, "until": until }),
            When::Weekly { weekly: Weekly { days, at, minutes }, zone } => {
                json!({ "days": days, "at": at, "minutes": minutes, "zone": zone })
            }
            When::Unclear => Value::Null,
        };
        json!({
            "id": self.id.to_string(), "cluster": self.cluster, "subject": self.about, "condition": self.condition,
            "note": self.note, "when": when, "by": self.by, "made": self.made,
        })
    }

    /// What it is about, and where, in words.
    fn place(&self) -> String {
        let about = match &self.condition {
            Some(condition) => format!("{condition} of {}", self.about),
            None => self.about.to_string(),
        };
        match &self.cluster {
            Some(cluster) => format!("{about} in {cluster}"),
            None => format!("{about} in all clusters"),
        }
    }

    /// What everybody is told. What somebody typed is not in the title: some words there mean something to every page
    /// (contract 5).
    fn event(&self, title: &str, message: &str, at: Timestamp) -> NewEvent {
        let event = NewEvent::plain(at, EventKind::Status, Severity::Info, Source::User, title, message);
        let subject = match &self.about {
            About::Subject(subject) => Some(subject.to_string()),
            About::Tag(_) | About::Pool(_) | About::Name(_) => None,
        };
        // It is over with itself: nothing would ever end it.
        NewEvent { resolves: true, cluster: self.cluster.clone(), subject, ..event }.fitted()
    }
}

/// The columns that [`Notice::read`] reads.
macro_rules! columns {
    () => {
        "id, kind, cluster, about, condition, note, made_by, made_ms, from_ms, until_ms, days, at_local, minutes, zone, \
         ended_ms, ended_by"
    };
}

pub(super) const OPEN: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM notices WHERE ended_ms IS NULL AND (?1 IS NULL OR (kind = 'silence') = (?1 = 'silence')) AND (until_ms IS NULL OR until_ms > ?2) \
     ORDER BY made_ms, seq"
);

/// Those that last or are to come.
pub(super) async fn open(
    conn: impl SqliteExecutor<'_>,
    kind: Option<NoticeKind>,
    now: Timestamp,
) -> Result<Vec<Notice>, sqlx::Error> {
    let rows = sqlx::query(OPEN)
        .bind(kind.map(NoticeKind::as_str))
        .bind(now.as_millisecond())
        .fetch_all(conn)
        .await?;
    Ok(rows.iter().map(Notice::read).collect())
}

async fn by_id(conn: impl SqliteExecutor<'_>, id: &Uuid) -> Result<Option<Notice>, sqlx::Error> {
    let sql = concat!("SELECT ", columns!(), " FROM notices WHERE id = ?1");
    let row = sqlx::query(sql).bind(id.to_string()).fetch_optional(conn).await?;
    Ok(row.as_ref().map(Notice::read))
}

struct Set {
    signer: Signer,
    id: Uuid,
    new: NewNotice,
    by: Operator,
    at: Timestamp,
}

/// What was written; nothing, where there is no room for one more or it is not there.
struct Written {
    notice: Option<Notice>,
    saved: Saved,
}

const NOTHING: Written = Written { notice: None, saved: Saved { rows: Vec::new(), head: None } };

impl Write for Set {
    type Output = Written;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Written, sqlx::Error> {
        let Set { signer, id, new, by, at } = self;
        let NewNotice { kind, cluster, about, condition, note, when } = new.clone();
        // Of each cluster so many, and of all together: who operates one takes no room from the others.
        let held = open(&mut *conn, Some(kind), *at).await?;
        if held.iter().filter(|held| held.cluster == cluster).count() >= OPEN_MAX {
            return Ok(NOTHING);
        }
        let mut name = format!("{} ({})", by.name, by.via);
        super::new::cut(&mut name, NAME_MAX);
        let notice =
            Notice { id: *id, kind, cluster, about, condition, note, by: name, made: *at, when, ended: None };
        insert(&mut *conn, &notice).await?;
        sqlx::query(
            "DELETE FROM notices WHERE seq IN (SELECT seq FROM notices WHERE kind = ?1 \
             AND (ended_ms IS NOT NULL OR until_ms <= ?2) ORDER BY seq DESC LIMIT -1 OFFSET ?3)",
        )
        .bind(kind.as_str())
        .bind(at.as_millisecond())
        .bind(OVER_MAX)
        .execute(&mut *conn)
        .await?;
        let (did, title) = match kind {
            NoticeKind::Maintenance => ("maintenanceSet", "Maintenance announced"),
            NoticeKind::Silence => ("silenceSet", "Silence set"),
        };
        let entry = NewEntry::by_operator(*at, by, did, &notice.what());
        let note = if notice.note.is_empty() { String::new() } else { format!(" ({})", notice.note) };
        let message = format!("{}: {} {}{note}", notice.by, notice.place(), notice.when.words());
        let event = notice.event(title, &message, *at);
        let (signer, events) = (signer.clone(), vec![event]);
        let turn = SaveTurn { signer, entries: vec![entry], events, checkpoint: None };
        let saved = turn.apply(conn).await?;
        Ok(Written { notice: Some(notice), saved })
    }

    fn events(written: &Written) -> &[std::sync::Arc<EventRow>] {
        SaveTurn::events(&written.saved)
    }

    fn head(written: &Written) -> Option<super::chain::Head> {
        SaveTurn::head(&written.saved)
    }
}

async fn insert(conn: &mut SqliteConnection, notice: &Notice) -> Result<(), sqlx::Error> {
    let (once, weekly) = match &notice.when {
        When::Once(span) => (Some(span), None),
        When::Weekly { weekly, zone } => (None, Some((weekly, zone))),
        When::Unclear => (None, None),
    };
    sqlx::query(
        "INSERT INTO notices (id, kind, cluster, about, condition, note, made_by, made_ms, from_ms, until_ms, days, \
         at_local, minutes, zone) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )
    .bind(notice.id.to_string())
    .bind(notice.kind.as_str())
    .bind(notice.cluster.as_deref())
    .bind(notice.about.to_string())
    .bind(notice.condition.as_deref())
    .bind(notice.note.as_str())
    .bind(notice.by.as_str())
    .bind(notice.made.as_millisecond())
    .bind(once.map(|span| span.from.as_millisecond()))
    .bind(once.map(|span| span.until.as_millisecond()))
    .bind(weekly.map(|(weekly, _)| weekly.days.to_string()))
    .bind(weekly.map(|(weekly, _)| weekly.at.to_string()))
    .bind(weekly.map(|(weekly, _)| i64::from(weekly.minutes)))
    .bind(weekly.map(|(_, zone)| zone.as_str()))
    .execute(conn)
    .await
    .map(drop)
}

struct End {
    signer: Signer,
    id: Uuid,
    by: Operator,
    at: Timestamp,
}

impl Write for End {
    type Output = Written;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Written, sqlx::Error> {
        let End { signer, id, by, at } = self;
        let Some(mut notice) = by_id(&mut *conn, id).await? else { return Ok(NOTHING) };
        if notice.is_over(*at) {
            return Ok(Written { notice: Some(notice), ..NOTHING });
        }
        let mut name = format!("{} ({})", by.name, by.via);
        super::new::cut(&mut name, NAME_MAX);
        sqlx::query("UPDATE notices SET ended_ms = ?2, ended_by = ?3 WHERE id = ?1")
            .bind(id.to_string())
            .bind(at.as_millisecond())
            .bind(name.as_str())
            .execute(&mut *conn)
            .await?;
        notice.ended = Some((*at, name.clone()));
        let (did, title) = match notice.kind {
            NoticeKind::Maintenance => ("maintenanceEnded", "Maintenance ended"),
            NoticeKind::Silence => ("silenceEnded", "Silence ended"),
        };
        let entry = NewEntry::by_operator(*at, by, did, &notice.what());
        let message = format!("{name}: {}, which was {}", notice.place(), notice.when.words());
        let event = notice.event(title, &message, *at);
        let (signer, events) = (signer.clone(), vec![event]);
        let turn = SaveTurn { signer, entries: vec![entry], events, checkpoint: None };
        let saved = turn.apply(conn).await?;
        Ok(Written { notice: Some(notice), saved })
    }

    fn events(written: &Written) -> &[std::sync::Arc<EventRow>] {
        SaveTurn::events(&written.saved)
    }

    fn head(written: &Written) -> Option<super::chain::Head> {
        SaveTurn::head(&written.saved)
    }
}

impl Store {
    /// Announces something for somebody: the notice, its row of the journal and the event, all or nothing. `None`: there are
    /// too many already.
    pub async fn set_notice(&self, new: NewNotice, by: &Operator, at: Timestamp) -> Answer<Option<Notice>> {
        within("a note", new.note.len(), NOTE_MAX)?;
        let set = Set { signer: self.signer(), id: Uuid::new_v4(), new, by: by.clone(), at };
        let notice = self.write(set).await?.notice;
        self.shared.settings.send_modify(|changes| *changes += 1);
        Ok(notice)
    }

    /// Ends one for somebody. `None`: there is none. One that was over stays as it was, and nothing is written.
    pub async fn end_notice(&self, id: Uuid, by: &Operator, at: Timestamp) -> Answer<Option<Notice>> {
        let notice = self.write(End { signer: self.signer(), id, by: by.clone(), at }).await?.notice;
        self.shared.settings.send_modify(|changes| *changes += 1);
        Ok(notice)
    }

    /// One by its id.
    pub async fn notice(&self, id: &Uuid) -> Answer<Option<Notice>> {
        Ok(by_id(&self.shared.readers, id).await?)
    }

    /// Those that last or are to come, oldest first; `None`: of both kinds.
    pub async fn open_notices(&self, kind: Option<NoticeKind>, now: Timestamp) -> Answer<Vec<Notice>> {
        Ok(open(&self.shared.readers, kind, now).await?)
    }

    /// All that are kept of a kind, newest first: at most as many as may be open and over.
    pub async fn all_notices(&self, kind: NoticeKind) -> Answer<Vec<Notice>> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM notices WHERE (kind = 'silence') = (?1 = 'silence') ORDER BY seq DESC LIMIT ?2"
        );
        let most = i64::try_from(OPEN_MAX).unwrap_or(i64::MAX).saturating_add(OVER_MAX);
        let rows = sqlx::query(sql).bind(kind.as_str()).bind(most).fetch_all(&self.shared.readers).await?;
        Ok(rows.iter().map(Notice::read).collect())
    }

    /// Takes away what is over for so many days (at least one).
    pub async fn cleanup_old_notices(&self, days: u32, now: Timestamp) -> Answer<u64> {
        let Some(before) = super::before(days, now) else { return Ok(0) };
        self.write(Prune { before }).await
    }
}

struct Prune {
    before: Timestamp,
}

impl Write for Prune {
    type Output = u64;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
        let sql = "DELETE FROM notices WHERE coalesce(ended_ms, until_ms) < ?1";
        let done = sqlx::query(sql).bind(self.before.as_millisecond()).execute(conn).await?;
        Ok(done.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection};

    use super::super::migrate::migrate;
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_795_867_200, 0);

    fn at(minutes: i64) -> Timestamp {
        NOW + SignedDuration::from_mins(minutes)
    }

    async fn store() -> SqliteConnection {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        migrate(&mut conn, Timestamp::UNIX_EPOCH).await.unwrap();
        conn
    }

    fn signer() -> Signer {
        Signer::new(&[7; 32])
    }

    fn set(kind: NoticeKind, when: When) -> Set {
        let new = NewNotice {
            kind,
            cluster: Some("lab".into()),
            about: "node/pve1".parse().unwrap(),
            condition: None,
            note: "new memory".into(),
            when,
        };
        let by = Operator { name: "alice".into(), via: "login".into() };
        Set { signer: signer(), id: Uuid::new_v4(), new, by, at: NOW }
    }

    fn once(from: i64, until: i64) -> When {
        When::Once(Span { from: at(from), until: at(until) })
    }

    fn weekly() -> When {
        let weekly = Weekly { days: "sat".parse().unwrap(), at: "02:00".parse().unwrap(), minutes: 60 };
        When::Weekly { weekly, zone: "Europe/Berlin".into() }
    }

    #[tokio::test]
    async fn what_is_kept_is_read_as_it_was_and_what_nobody_can_read_is_taken_for_the_safe_thing() {
        use NoticeKind::{Maintenance, Silence};
        // 2026-11-28 12:00 UTC, a Saturday.
        #[rustfmt::skip]
        let table = [
            ("once",                          Maintenance, once(-5, 5),  "",                                   "holds", "cluster lab: node/pve1"),
            ("once, to come",                 Maintenance, once(5, 9),   "",                                   "open",  "cluster lab: node/pve1"),
            ("weekly, some other time",       Maintenance, weekly(),     "",                                   "open",  "cluster lab: node/pve1"),
            ("a silence",                     Silence,     once(-5, 5),  "",                                   "holds", "cluster lab: node/pve1"),
            ("work on what nobody knows",     Maintenance, once(-9, 5),  "about = 'pve1'",                     "holds", "cluster lab: cluster"),
            ("a silence about such",          Silence,     once(-9, 5),  "about = 'pve1'",                     "open",  "cluster lab: cluster"),
            ("work without an end",           Maintenance, once(5, 9),   "until_ms = NULL",                    "holds", "cluster lab: node/pve1"),
            ("a silence without an end",      Silence,     once(-9, 5),  "until_ms = NULL",                    "open",  "cluster lab: node/pve1"),
            ("on a day that is none",         Maintenance, weekly(),     "days = 'caturday'",                  "holds", "cluster lab: node/pve1"),
            ("at a time that is none",        Maintenance, weekly(),     "at_local = '25:00'",                 "holds", "cluster lab: node/pve1"),
            ("for a month of each week",      Maintenance, weekly(),     "minutes = 43200",                    "holds", "cluster lab: node/pve1"),
            ("for less than nothing",         Maintenance, weekly(),     "minutes = -1",                       "holds", "cluster lab: node/pve1"),
            ("in a zone that is none",        Maintenance, weekly(),     "zone = 'Europe/Atlantis'",           "holds", "cluster lab: node/pve1"),
            ("of a kind that is none",        Silence,     once(-5, 5),  "kind = 'quiet'",                     "holds", "cluster lab: node/pve1"),
            ("times beyond all calendars",    Maintenance, once(5, 9),   "from_ms = 9223372036854775807",      "holds", "cluster lab: node/pve1"),
        ];
        for (name, kind, when, change, expected, place) in table {
            let mut conn = store().await;
            let made = set(kind, when.clone()).apply(&mut conn).await.unwrap().notice.unwrap();
            if !change.is_empty() {
                let change = AssertSqlSafe(format!("UPDATE notices SET {change}"));
                sqlx::query(change).execute(&mut conn).await.unwrap();
            }
            let [read] = &open(&mut conn, None, NOW).await.unwrap()[..] else { panic!("{name}: not there") };
            // The engine is told of all that is read as work.
            let of_kind = open(&mut conn, Some(read.kind), NOW).await.unwrap();
            assert_eq!(of_kind.len(), 1, "{name}: {:?}", read.kind);
            if change.is_empty() {
                assert_eq!(read, &made, "{name}");
            }
            let holds = if read.now_and_next(NOW).0.is_some() { "holds" } else { "open" };
            assert_eq!(holds, expected, "{name}");
            assert_eq!(
                format!("cluster {}: {}", read.cluster.as_deref().unwrap(), read.about),
                place,
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn it_ends_once_and_by_itself() {
        let by = || Operator { name: "bob".into(), via: "token x".into() };
        let mut conn = store().await;
        let made = set(NoticeKind::Maintenance, once(-5, 5)).apply(&mut conn).await.unwrap();
        let id = made.notice.unwrap().id;
        assert_eq!(made.saved.rows.len(), 1, "everybody is told");
        let none =
            End { signer: signer(), id: Uuid::new_v4(), by: by(), at: NOW }.apply(&mut conn).await.unwrap();
        assert_eq!(none.notice, None);
        let ended = End { signer: signer(), id, by: by(), at: NOW }.apply(&mut conn).await.unwrap();
        assert_eq!(ended.notice.unwrap().ended, Some((NOW, "bob (token x)".into())));
        assert_eq!(ended.saved.rows.len(), 1);
        let again = End { signer: signer(), id, by: by(), at: at(1) }.apply(&mut conn).await.unwrap();
        assert_eq!(again.notice.unwrap().ended, Some((NOW, "bob (token x)".into())), "once");
        assert!(again.saved.rows.is_empty() && again.saved.head.is_none(), "and nothing is written");
        let past = set(NoticeKind::Silence, once(-5, 5)).apply(&mut conn).await.unwrap().notice.unwrap();
        let late = End { signer: signer(), id: past.id, by: by(), at: at(5) }.apply(&mut conn).await.unwrap();
        assert_eq!((late.notice.unwrap().ended, late.saved.rows.len()), (None, 0), "its time was over");
        assert_eq!(open(&mut conn, None, at(4)).await.unwrap().len(), 1);
        assert_eq!(open(&mut conn, None, at(5)).await.unwrap(), []);
    }
}
