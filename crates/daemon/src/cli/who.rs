//! Who is at the terminal: the system's name for this process's user, and for whom `sudo` was called.

use std::os::unix::fs::MetadataExt;

use crate::config;

/// Longest part of `/etc/passwd` that is looked at, in bytes.
const PASSWD_MAX: usize = 1024 * 1024;

/// `root`, or `alice (sudo)` where somebody became another one.
pub(super) fn name() -> String {
    let own = own_name();
    match config::sudo_user() {
        Some(user) if user != own => format!("{user} (sudo)"),
        Some(_) | None => own,
    }
}

/// This process's user.
pub(super) fn uid() -> Option<u32> {
    std::fs::metadata("/proc/self").ok().map(|about| about.uid())
}

fn own_name() -> String {
    let Some(uid) = uid() else { return "unknown".into() };
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let passwd = &passwd[..passwd.floor_char_boundary(PASSWD_MAX)];
    named(passwd, uid).map_or_else(|| format!("uid {uid}"), str::to_owned)
}

fn named(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_or_a_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\n:x:5::\njarvis:x:998:998::/var/lib/jarvis:/bin/false\nbroken\n";
        for (uid, expected) in [(0, Some("root")), (998, Some("jarvis")), (5, None), (7, None)] {
            assert_eq!(named(passwd, uid), expected, "{uid}");
        }
    }
}
