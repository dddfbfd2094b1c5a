//! Process: what the kernel says of this process, with the names that Prometheus's own clients use.
//!
//! A file of `/proc` that cannot be read leaves its lines out: no figure is better than a wrong one.

use std::fs;

use super::metrics::Exposition;

/// Ticks a second in `/proc`, the same on every Linux.
const TICKS: f64 = 100.0;

pub(super) fn write(text: &mut Exposition) {
    if let Ok(stat) = fs::read_to_string("/proc/self/stat")
        && let Some(stat) = Stat::read(&stat)
    {
        let cpu = "process_cpu_seconds_total";
        text.alone(cpu, "counter", "User and system CPU time spent.", stat.cpu_ticks / TICKS);
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|all| number_after(&all, "btime"));
        if let Some(boot) = boot {
            let start = "process_start_time_seconds";
            text.alone(start, "gauge", "When it was started, in Unix time.", boot + stat.start_ticks / TICKS);
        }
    }
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let sizes = [
            ("VmSize:", "process_virtual_memory_bytes", "Virtual memory."),
            ("VmRSS:", "process_resident_memory_bytes", "Memory in use."),
        ];
        for (key, name, help) in sizes {
            if let Some(kib) = number_after(&status, key) {
                text.alone(name, "gauge", help, kib * 1024.0);
            }
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        text.alone("process_open_fds", "gauge", "Open file descriptors.", open.count());
    }
    if let Ok(limits) = fs::read_to_string("/proc/self/limits")
        && let Some(max) = number_after(&limits, "Max open files")
    {
        text.alone("process_max_fds", "gauge", "The most that may be open.", max);
    }
}

struct Stat {
    cpu_ticks: f64,
    start_ticks: f64,
}

impl Stat {
    /// The program's name, in parentheses, may hold anything.
    fn read(stat: &str) -> Option<Stat> {
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Stat { cpu_ticks: field(11)? + field(12)?, start_ticks: field(19)? })
    }
}

/// The first number behind a word that begins a line.
fn number_after(text: &str, word: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(word))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_parenthesis_hides_no_field() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 4 0 12345 0 0";
        let Stat { cpu_ticks, start_ticks } = Stat::read(stat).unwrap();
        assert_eq!((cpu_ticks, start_ticks), (400.0, 12345.0));
        assert_eq!(number_after("VmSize:\t 12 kB\nVmRSS:\t  34 kB\n", "VmRSS:"), Some(34.0));
        assert_eq!(number_after("Max open files            unlimited", "Max open files"), None);
    }
}
