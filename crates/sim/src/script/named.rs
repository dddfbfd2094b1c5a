//! Named: every scenario folder's script, by the folder's name, so that the binary can play each without the sources.

/// By name. A test holds it against the folders.
pub const NAMED: &[(&str, &str)] = &[
    ("act-approved", include_str!("../../scenarios/act-approved/scenario.txt")),
    ("act-dies-again", include_str!("../../scenarios/act-dies-again/scenario.txt")),
    ("act-dismissed", include_str!("../../scenarios/act-dismissed/scenario.txt")),
    ("act-ignored-by-its-tag", include_str!("../../scenarios/act-ignored-by-its-tag/scenario.txt")),
    ("act-kill-switch", include_str!("../../scenarios/act-kill-switch/scenario.txt")),
    ("act-maintenance", include_str!("../../scenarios/act-maintenance/scenario.txt")),
    ("act-node-woken", include_str!("../../scenarios/act-node-woken/scenario.txt")),
    (
        "act-node-woken-by-our-own-packet",
        include_str!("../../scenarios/act-node-woken-by-our-own-packet/scenario.txt"),
    ),
    (
        "act-not-started-after-reboot",
        include_str!("../../scenarios/act-not-started-after-reboot/scenario.txt"),
    ),
    ("act-not-started-again", include_str!("../../scenarios/act-not-started-again/scenario.txt")),
    ("act-protected", include_str!("../../scenarios/act-protected/scenario.txt")),
    (
        "act-resumed-when-there-is-room",
        include_str!("../../scenarios/act-resumed-when-there-is-room/scenario.txt"),
    ),
    (
        "act-service-stopped-by-operator",
        include_str!("../../scenarios/act-service-stopped-by-operator/scenario.txt"),
    ),
    ("act-somebody-was-faster", include_str!("../../scenarios/act-somebody-was-faster/scenario.txt")),
    ("act-start-order", include_str!("../../scenarios/act-start-order/scenario.txt")),
    ("act-stopped-after-its-crash", include_str!("../../scenarios/act-stopped-after-its-crash/scenario.txt")),
    ("act-three-attempts", include_str!("../../scenarios/act-three-attempts/scenario.txt")),
    ("api-first-endpoint-refuses", include_str!("../../scenarios/api-first-endpoint-refuses/scenario.txt")),
    ("api-first-node-down", include_str!("../../scenarios/api-first-node-down/scenario.txt")),
    ("api-hangs", include_str!("../../scenarios/api-hangs/scenario.txt")),
    ("api-late-answer", include_str!("../../scenarios/api-late-answer/scenario.txt")),
    ("api-one-lost-round", include_str!("../../scenarios/api-one-lost-round/scenario.txt")),
    ("api-token-refused", include_str!("../../scenarios/api-token-refused/scenario.txt")),
    ("api-too-slow", include_str!("../../scenarios/api-too-slow/scenario.txt")),
    ("api-unreachable", include_str!("../../scenarios/api-unreachable/scenario.txt")),
    ("backup-and-power-off-inside", include_str!("../../scenarios/backup-and-power-off-inside/scenario.txt")),
    ("backup-of-a-stopped-machine", include_str!("../../scenarios/backup-of-a-stopped-machine/scenario.txt")),
    ("backup-stop-container", include_str!("../../scenarios/backup-stop-container/scenario.txt")),
    ("backup-stop-machine", include_str!("../../scenarios/backup-stop-machine/scenario.txt")),
    ("backup-suspend", include_str!("../../scenarios/backup-suspend/scenario.txt")),
    ("container-crash", include_str!("../../scenarios/container-crash/scenario.txt")),
    ("container-init-killed", include_str!("../../scenarios/container-init-killed/scenario.txt")),
    ("container-migrated", include_str!("../../scenarios/container-migrated/scenario.txt")),
    ("demo", include_str!("../../scenarios/demo/scenario.txt")),
    ("empty-list-for-one-round", include_str!("../../scenarios/empty-list-for-one-round/scenario.txt")),
    ("empty-list-is-no-crash", include_str!("../../scenarios/empty-list-is-no-crash/scenario.txt")),
    (
        "first-pass-full-disk-is-told",
        include_str!("../../scenarios/first-pass-full-disk-is-told/scenario.txt"),
    ),
    ("first-pass-only-records", include_str!("../../scenarios/first-pass-only-records/scenario.txt")),
    ("guest-crash", include_str!("../../scenarios/guest-crash/scenario.txt")),
    ("guest-crash-without-syslog", include_str!("../../scenarios/guest-crash-without-syslog/scenario.txt")),
    (
        "guest-crashed-then-destroyed",
        include_str!("../../scenarios/guest-crashed-then-destroyed/scenario.txt"),
    ),
    ("guest-crashes-twice", include_str!("../../scenarios/guest-crashes-twice/scenario.txt")),
    ("guest-created", include_str!("../../scenarios/guest-created/scenario.txt")),
    ("guest-destroyed", include_str!("../../scenarios/guest-destroyed/scenario.txt")),
    ("guest-hung", include_str!("../../scenarios/guest-hung/scenario.txt")),
    ("guest-hung-for-a-moment", include_str!("../../scenarios/guest-hung-for-a-moment/scenario.txt")),
    ("guest-live-migrated", include_str!("../../scenarios/guest-live-migrated/scenario.txt")),
    ("guest-migrated", include_str!("../../scenarios/guest-migrated/scenario.txt")),
    ("guest-named-web01", include_str!("../../scenarios/guest-named-web01/scenario.txt")),
    ("guest-number-used-again", include_str!("../../scenarios/guest-number-used-again/scenario.txt")),
    ("guest-out-of-memory", include_str!("../../scenarios/guest-out-of-memory/scenario.txt")),
    ("guest-panicked", include_str!("../../scenarios/guest-panicked/scenario.txt")),
    ("guest-paused-and-resumed", include_str!("../../scenarios/guest-paused-and-resumed/scenario.txt")),
    ("guest-poweroff-inside", include_str!("../../scenarios/guest-poweroff-inside/scenario.txt")),
    ("guest-rebooted-by-operator", include_str!("../../scenarios/guest-rebooted-by-operator/scenario.txt")),
    ("guest-restarted-inside", include_str!("../../scenarios/guest-restarted-inside/scenario.txt")),
    ("guest-rolled-back", include_str!("../../scenarios/guest-rolled-back/scenario.txt")),
    ("guest-segfault", include_str!("../../scenarios/guest-segfault/scenario.txt")),
    ("guest-shutdown-by-operator", include_str!("../../scenarios/guest-shutdown-by-operator/scenario.txt")),
    ("guest-shutdown-slow", include_str!("../../scenarios/guest-shutdown-slow/scenario.txt")),
    ("guest-started", include_str!("../../scenarios/guest-started/scenario.txt")),
    ("guest-stopped-by-operator", include_str!("../../scenarios/guest-stopped-by-operator/scenario.txt")),
    ("guest-suspended-to-disk", include_str!("../../scenarios/guest-suspended-to-disk/scenario.txt")),
    (
        "guests-stopped-at-any-second",
        include_str!("../../scenarios/guests-stopped-at-any-second/scenario.txt"),
    ),
    ("ha-guest-crash", include_str!("../../scenarios/ha-guest-crash/scenario.txt")),
    ("ha-guest-crash-on-slow-ha", include_str!("../../scenarios/ha-guest-crash-on-slow-ha/scenario.txt")),
    (
        "ha-guest-stopped-by-operator",
        include_str!("../../scenarios/ha-guest-stopped-by-operator/scenario.txt"),
    ),
    ("ha-node-loss", include_str!("../../scenarios/ha-node-loss/scenario.txt")),
    ("live-tier-off", include_str!("../../scenarios/live-tier-off/scenario.txt")),
    ("locked-guest", include_str!("../../scenarios/locked-guest/scenario.txt")),
    ("many-guests-die-at-once", include_str!("../../scenarios/many-guests-die-at-once/scenario.txt")),
    ("node-clusterfs-down", include_str!("../../scenarios/node-clusterfs-down/scenario.txt")),
    ("node-daemon-down", include_str!("../../scenarios/node-daemon-down/scenario.txt")),
    ("node-daemon-hung", include_str!("../../scenarios/node-daemon-hung/scenario.txt")),
    ("node-evicted", include_str!("../../scenarios/node-evicted/scenario.txt")),
    (
        "node-loss-and-crash-elsewhere",
        include_str!("../../scenarios/node-loss-and-crash-elsewhere/scenario.txt"),
    ),
    ("node-loss-and-return", include_str!("../../scenarios/node-loss-and-return/scenario.txt")),
    ("node-loss-short", include_str!("../../scenarios/node-loss-short/scenario.txt")),
    ("node-maintenance", include_str!("../../scenarios/node-maintenance/scenario.txt")),
    ("node-proxy-down", include_str!("../../scenarios/node-proxy-down/scenario.txt")),
    ("node-reboot-obstinate-guest", include_str!("../../scenarios/node-reboot-obstinate-guest/scenario.txt")),
    ("node-rebooted-on-purpose", include_str!("../../scenarios/node-rebooted-on-purpose/scenario.txt")),
    ("node-reset-unnoticed", include_str!("../../scenarios/node-reset-unnoticed/scenario.txt")),
    ("node-seen-from-one-node", include_str!("../../scenarios/node-seen-from-one-node/scenario.txt")),
    ("node-shut-down-on-purpose", include_str!("../../scenarios/node-shut-down-on-purpose/scenario.txt")),
    (
        "node-shut-down-with-many-guests",
        include_str!("../../scenarios/node-shut-down-with-many-guests/scenario.txt"),
    ),
    ("nothing-happens", include_str!("../../scenarios/nothing-happens/scenario.txt")),
    (
        "partition-first-endpoint-cut-off",
        include_str!("../../scenarios/partition-first-endpoint-cut-off/scenario.txt"),
    ),
    ("partition-ha-self-fence", include_str!("../../scenarios/partition-ha-self-fence/scenario.txt")),
    (
        "partition-only-a-minority-answers",
        include_str!("../../scenarios/partition-only-a-minority-answers/scenario.txt"),
    ),
    ("quorum-lost", include_str!("../../scenarios/quorum-lost/scenario.txt")),
    ("quorum-lost-by-nodes", include_str!("../../scenarios/quorum-lost-by-nodes/scenario.txt")),
    ("service-failed", include_str!("../../scenarios/service-failed/scenario.txt")),
    ("standalone-node", include_str!("../../scenarios/standalone-node/scenario.txt")),
    ("stats-stalled", include_str!("../../scenarios/stats-stalled/scenario.txt")),
    ("storage-full-io-error", include_str!("../../scenarios/storage-full-io-error/scenario.txt")),
    ("storage-local-filled", include_str!("../../scenarios/storage-local-filled/scenario.txt")),
    ("storage-outage", include_str!("../../scenarios/storage-outage/scenario.txt")),
    ("storage-outage-one-node", include_str!("../../scenarios/storage-outage-one-node/scenario.txt")),
    ("storage-shared-filled-once", include_str!("../../scenarios/storage-shared-filled-once/scenario.txt")),
    ("temperature-high", include_str!("../../scenarios/temperature-high/scenario.txt")),
    ("template", include_str!("../../scenarios/template/scenario.txt")),
    ("threshold-hovering", include_str!("../../scenarios/threshold-hovering/scenario.txt")),
    ("threshold-ladder", include_str!("../../scenarios/threshold-ladder/scenario.txt")),
    ("threshold-memory-and-cpu", include_str!("../../scenarios/threshold-memory-and-cpu/scenario.txt")),
    (
        "threshold-outlives-node-loss",
        include_str!("../../scenarios/threshold-outlives-node-loss/scenario.txt"),
    ),
    (
        "threshold-raised-and-cleared",
        include_str!("../../scenarios/threshold-raised-and-cleared/scenario.txt"),
    ),
    ("token-rights-lost", include_str!("../../scenarios/token-rights-lost/scenario.txt")),
    (
        "two-guests-crash-in-one-round",
        include_str!("../../scenarios/two-guests-crash-in-one-round/scenario.txt"),
    ),
    ("two-nodes-lost", include_str!("../../scenarios/two-nodes-lost/scenario.txt")),
];

#[cfg(test)]
mod tests {
    use super::NAMED;

    #[test]
    fn every_folder_can_be_played() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut folders: Vec<String> = std::fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().join("scenario.txt").is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        folders.sort();
        let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names, folders,
            "crates/sim/src/script/named.rs lists the folders of crates/sim/scenarios"
        );
    }
}
