//! The tape: everything that an engine was told and what it said to it, kept for a while, so that another policy can be tried on
//! what really happened ([`replay`]).
//!
//! It is no record: the journal is. It never delays the loop: what the disk does not take in time is left out, and a new piece
//! begins. A piece is a file of JSON lines, compressed, that begins with all that the engine knew; its end may be cut off.

pub mod command;
pub mod replay;

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Take, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use engine::observe::ClusterName;
use engine::{Engine, Input, Moment};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The form of a piece. One of another version is not read.
const VERSION: u32 = 2;
/// Turns that wait for the disk. Of the biggest cluster each has some megabytes.
const WAITING_MAX: usize = 8;
/// A piece ends after so many bytes on the disk, or so much time: what is too old is removed piece by piece.
const PIECE_MAX: u64 = 8 << 20;
const PIECE_LASTS: SignedDuration = SignedDuration::from_hours(6);
/// What a death may cost, at most.
const FLUSH_EVERY: SignedDuration = SignedDuration::from_secs(30);
/// A longer line is no turn: the biggest cluster's has some megabytes.
const LINE_MAX: u64 = 256 << 20;
/// The end of a piece's name.
const ENDING: &str = ".jsonl.gz";

/// Where tapes are kept, and how much of them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A folder beside the store; in it one for each cluster.
    pub folder: PathBuf,
    /// Older pieces are removed.
    pub keep: SignedDuration,
    /// Bytes of one cluster, beyond which the oldest are removed.
    pub size_max: u64,
}

impl Settings {
    /// Where the tapes of a store lie.
    pub fn folder_of(store: &Path) -> PathBuf {
        let mut name = store.as_os_str().to_owned();
        name.push(".tapes");
        name.into()
    }
}

/// How a piece begins.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    version: u32,
    cluster: ClusterName,
    at: Timestamp,
    moment: Moment,
}

/// A turn of the engine.
#[derive(Debug, Serialize, Deserialize)]
struct Turn {
    /// When it was.
    at: Timestamp,
    /// What the engine was told.
    input: Input,
    /// What it said to that, as the log has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    said: Vec<String>,
}

enum Message {
    Begin(Box<Head>),
    Turn(Box<Turn>),
}

/// The loop's end of a tape. Dropped, it ends the piece.
#[derive(Debug)]
pub struct Tape {
    /// `None`: nothing is taped.
    to: Option<SyncSender<Message>>,
    /// A piece is to begin, because none has, because the last is full, or because something was left out.
    begin: Arc<AtomicBool>,
}

/// A turn that is under way.
#[derive(Debug)]
pub struct Taped {
    at: Timestamp,
    input: Input,
}

impl Tape {
    /// Begins to keep the tape of one cluster; without settings it keeps nothing.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn new(cluster: &ClusterName, settings: Option<&Settings>) -> io::Result<Tape> {
        let begin = Arc::new(AtomicBool::new(true));
        let Some(settings) = settings else { return Ok(Tape { to: None, begin }) };
        let (to, from) = sync_channel(WAITING_MAX);
        let reel = Reel {
            folder: settings.folder.join(cluster.as_str()),
            settings: settings.clone(),
            begin: Arc::clone(&begin),
            piece: None,
            failing: false,
        };
        std::thread::Builder::new().name(format!("{cluster} tape")).spawn(move || reel.run(&from))?;
        Ok(Tape { to: Some(to), begin })
    }

    /// Before a turn of the engine.
    pub fn before(&self, at: Timestamp, engine: &Engine, input: &Input) -> Option<Taped> {
        let to = self.to.as_ref()?;
        if self.begin.load(Ordering::Relaxed) {
            let head =
                Head { version: VERSION, cluster: engine.cluster().clone(), at, moment: engine.moment() };
            // Where there is no room for it, there is none for the turn.
            to.try_send(Message::Begin(Box::new(head))).ok()?;
            self.begin.store(false, Ordering::Relaxed);
        }
        Some(Taped { at, input: input.clone() })
    }

    /// After it: what the engine said.
    pub fn after(&self, taped: Option<Taped>, said: Vec<String>) {
        let (Some(to), Some(Taped { at, input })) = (&self.to, taped) else { return };
        match to.try_send(Message::Turn(Box::new(Turn { at, input, said }))) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.begin.store(true, Ordering::Relaxed);
                tracing::debug!("a turn is missing on the tape: the disk is slower than the cluster");
            }
            // It has said why it ended.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

/// The disk's end.
struct Reel {
    folder: PathBuf,
    settings: Settings,
    begin: Arc<AtomicBool>,
    piece: Option<Piece>,
    failing: bool,
}

struct Piece {
    to: GzEncoder<Counted>,
    began: Timestamp,
    flushed: Timestamp,
}

/// A file, and how much was written to it.
struct Counted {
    file: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Reel {
    fn run(mut self, from: &Receiver<Message>) {
        while let Ok(message) = from.recv() {
            match self.take(message) {
                Ok(()) => self.failing = false,
                Err(error) => {
                    self.piece = None;
                    self.begin.store(true, Ordering::Relaxed);
                    if !self.failing {
                        let folder = self.folder.display();
                        tracing::warn!(
                            "the tape in {folder} is not kept, so nothing can be tried on it: {error}"
                        );
                    }
                    self.failing = true;
                }
            }
        }
        if let Some(Err(error)) = self.piece.take().map(|piece| piece.to.finish()) {
            tracing::warn!("the end of the tape was not written: {error}");
        }
    }

    fn take(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Begin(head) => {
                if let Some(last) = self.piece.take() {
                    last.to.finish()?;
                }
                self.prune(head.at)?;
                let file = create(&self.folder, head.at)?;
                let to = GzEncoder::new(Counted { file, bytes: 0 }, Compression::default());
                let piece = self.piece.insert(Piece { to, began: head.at, flushed: head.at });
                line(&mut piece.to, &head)
            }
            Message::Turn(turn) => {
                // After a failure nothing is written until the next beginning.
                let Some(piece) = &mut self.piece else { return Ok(()) };
                line(&mut piece.to, &turn)?;
                if turn.at.duration_since(piece.flushed) >= FLUSH_EVERY || !turn.said.is_empty() {
                    piece.to.flush()?;
                    piece.flushed = turn.at;
                }
                let full = piece.to.get_ref().bytes >= PIECE_MAX;
                if full || turn.at.duration_since(piece.began) >= PIECE_LASTS {
                    self.begin.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
        }
    }

    /// Removes what is too old, and the oldest of what is too much.
    fn prune(&self, now: Timestamp) -> io::Result<()> {
        let mut kept = VecDeque::new();
        let mut bytes = 0;
        for (began, path) in pieces(&self.folder)? {
            // It lasts until the next one begins, at most.
            if now.duration_since(began) > self.settings.keep + PIECE_LASTS {
                fs::remove_file(&path)?;
                continue;
            }
            let size = fs::metadata(&path)?.len();
            bytes += size;
            kept.push_back((path, size));
        }
        while bytes + PIECE_MAX > self.settings.size_max
            && let Some((path, size)) = kept.pop_front()
        {
            fs::remove_file(&path)?;
            bytes -= size;
        }
        Ok(())
    }
}

fn line(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, what)?;
    to.write_all(b"\n")
}

fn create(folder: &Path, at: Timestamp) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let name = format!("{:015}{ENDING}", at.as_millisecond());
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(folder.join(name))
}

/// The pieces of a cluster's tape, oldest first; none where there is no folder.
///
/// # Errors
/// The folder cannot be read.
pub fn pieces(folder: &Path) -> io::Result<Vec<(Timestamp, PathBuf)>> {
    let mut pieces = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pieces),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let millis = name.and_then(|name| name.strip_suffix(ENDING)?.parse().ok());
        if let Some(began) = millis.and_then(|millis| Timestamp::from_millisecond(millis).ok()) {
            pieces.push((began, path));
        }
    }
    pieces.sort();
    Ok(pieces)
}

/// A piece, as it is read: as far as it was written when it was opened. A decoder that has come to an end does not go on where
/// more is written meanwhile, and calls that damage.
struct Played {
    from: BufReader<GzDecoder<Take<File>>>,
    line: Vec<u8>,
}

/// What comes of reading on.
enum Next<T> {
    /// This.
    Some(T),
    /// It is over.
    End,
    /// Its end is missing: whoever wrote it was killed, or is still at it.
    Cut,
}

impl Played {
    fn open(path: &Path) -> io::Result<Played> {
        let file = File::open(path)?;
        let written = file.metadata()?.len();
        let from = BufReader::new(GzDecoder::new(file.take(written)));
        Ok(Played { from, line: Vec::new() })
    }

    fn next<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Next<T>, String> {
        self.line.clear();
        match (&mut self.from).take(LINE_MAX).read_until(b'\n', &mut self.line) {
            Ok(0) => return Ok(Next::End),
            Ok(_) if self.line.ends_with(b"\n") => {}
            Ok(_) if self.line.len() as u64 == LINE_MAX => return Err("a line is too long".into()),
            Ok(_) => return Ok(Next::Cut),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Next::Cut),
            Err(error) => return Err(error.to_string()),
        }
        serde_json::from_slice(&self.line).map(Next::Some).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use engine::policy::Policy;

    use super::replay::replay;
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Folder {
            let path = std::env::temp_dir().join(format!("jarvis-tape-{}", uuid::Uuid::new_v4()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap_or_default();
        }
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000 + hours)
    }

    fn head(at: Timestamp) -> Message {
        let engine = Engine::new("lab".parse().unwrap(), Policy::default(), 1);
        let moment = engine.moment();
        Message::Begin(Box::new(Head { version: VERSION, cluster: engine.cluster().clone(), at, moment }))
    }

    fn turn(at: Timestamp) -> Message {
        Message::Turn(Box::new(Turn { at, input: Input::Tick, said: vec![] }))
    }

    fn reel(folder: &Folder, size_max: u64) -> Reel {
        let keep = SignedDuration::from_hours(24);
        Reel {
            folder: folder.0.join("lab"),
            settings: Settings { folder: folder.0.clone(), keep, size_max },
            begin: Arc::default(),
            piece: None,
            failing: false,
        }
    }

    fn end(reel: &mut Reel) -> PathBuf {
        reel.piece.take().unwrap().to.finish().unwrap();
        pieces(&reel.folder).unwrap().pop().unwrap().1
    }

    #[test]
    fn what_is_too_old_or_too_much_goes_piece_by_piece() {
        let folder = Folder::new();
        let mut reel = reel(&folder, 1 << 30);
        for hours in [0, 6, 12, 18, 24, 30, 36] {
            reel.take(head(at(hours))).unwrap();
        }
        let began = |reel: &Reel| -> Vec<i64> {
            let all = pieces(&reel.folder).unwrap().into_iter();
            all.map(|(began, _)| began.duration_since(at(0)).as_hours()).collect()
        };
        assert_eq!(began(&reel), [6, 12, 18, 24, 30, 36], "a piece lasts six hours, and is kept for a day");
        let size = fs::metadata(end(&mut reel)).unwrap().len();
        reel.settings.size_max = PIECE_MAX + 3 * size;
        reel.take(head(at(37))).unwrap();
        assert_eq!(began(&reel), [24, 30, 36, 37], "there is room for the next one");
    }

    #[test]
    fn a_piece_that_is_full_or_old_asks_for_the_next() {
        let folder = Folder::new();
        let mut reel = reel(&folder, 1 << 30);
        reel.take(head(at(0))).unwrap();
        reel.take(turn(at(5))).unwrap();
        assert!(!reel.begin.load(Ordering::Relaxed));
        reel.take(turn(at(6))).unwrap();
        assert!(reel.begin.load(Ordering::Relaxed), "it has lasted");
    }

    #[test]
    fn what_can_be_read_of_a_piece() {
        let folder = Folder::new();
        let mut reel = reel(&folder, 1 << 30);
        reel.take(head(at(0))).unwrap();
        for hours in 1..100 {
            reel.take(turn(at(hours))).unwrap();
        }
        let piece = end(&mut reel);
        let whole = fs::read(&piece).unwrap();
        let gz = |text: &str| {
            let mut to = GzEncoder::new(Vec::new(), Compression::fast());
            to.write_all(text.as_bytes()).unwrap();
            to.finish().unwrap()
        };
        #[rustfmt::skip]
        let table = [
            ("the whole",              whole.clone(),                                "99 turns"),
            ("without its end",        whole[..whole.len() - 20].to_vec(),           "cut"),
            ("its first bytes",        whole[..30].to_vec(),                         "cut"),
            ("nothing",                vec![],                                       "cut"),
            ("of another time",        gz("{\"version\":1,\"old\":1}\n"),            "it is of version 1, and this jarvis knows 2"),
            ("no head",                gz("{\"version\":2}\n"),                      "missing field `cluster` at line 1 column 13"),
            ("another file",           b"PNG and so on, and so on".to_vec(),         "invalid gzip header"),
        ];
        for (name, bytes, expected) in table {
            fs::write(&piece, bytes).unwrap();
            let read = match replay(&piece, Policy::default(), None) {
                Ok(played) if played.cut => "cut".to_owned(),
                Ok(played) => format!("{} turns", played.turns),
                Err(why) => why,
            };
            assert_eq!(read, expected, "{name}");
        }
    }

    /// `jarvis replay` reads the newest piece while the daemon writes it.
    #[test]
    fn a_piece_that_grows_while_it_is_read_is_no_damage() {
        let folder = Folder::new();
        let mut reel = reel(&folder, 1 << 30);
        reel.take(head(at(0))).unwrap();
        for second in 0..400 {
            reel.take(turn(at(0) + SignedDuration::from_millis(second * second))).unwrap();
        }
        let piece = end(&mut reel);
        let whole = fs::read(&piece).unwrap();
        for written in (30..whole.len()).step_by(7) {
            for read_before in [0, 1, 50, 150, 250, 350] {
                fs::write(&piece, &whole[..written]).unwrap();
                let mut played = Played::open(&piece).unwrap();
                let mut read = 0;
                let ended = loop {
                    if read == read_before {
                        let mut file = fs::OpenOptions::new().append(true).open(&piece).unwrap();
                        file.write_all(&whole[written..]).unwrap();
                    }
                    match played.next::<serde_json::Value>() {
                        Ok(Next::Some(_)) => read += 1,
                        Ok(Next::End) => break "its end".to_owned(),
                        Ok(Next::Cut) => break "cut".to_owned(),
                        Err(why) => break why,
                    }
                };
                assert_eq!(
                    ended,
                    "cut",
                    "{written} of {} bytes, and the rest after {read_before} lines",
                    whole.len()
                );
            }
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_holds_up_nobody() {
        let folder = Folder::new();
        fs::write(folder.0.join("lab"), "a file in the place of the folder").unwrap();
        let mut reel = reel(&folder, 1 << 30);
        assert!(reel.take(head(at(0))).is_err());
        reel.take(turn(at(0))).unwrap();
        let settings = reel.settings.clone();
        let tape = Tape::new(&"lab".parse().unwrap(), Some(&settings)).unwrap();
        let engine = Engine::new("lab".parse().unwrap(), Policy::default(), 1);
        for hours in 0..100 {
            let taped = tape.before(at(hours), &engine, &Input::Tick);
            tape.after(taped, vec![]);
        }
    }
}
