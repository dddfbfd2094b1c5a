//! Services: one that is to run and does not.

use jiff::SignedDuration;

use crate::observe::Service;

/// A service that is being restarted is down for some seconds (pve-domain 11: twice, at least this far apart).
pub(crate) const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// Whether a service is down. On a node that stands alone corosync is enabled and has nothing to do.
pub(crate) fn down(service: &Service, alone: bool) -> bool {
    let idle = alone && service.name.as_str() == "corosync";
    service.enabled && !idle && matches!(&*service.active, "failed" | "inactive")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_services_are_down() {
        #[rustfmt::skip]
        let table = [
            ("runs",                               "pvestatd", true,  "active",       false, false),
            ("failed",                             "pvestatd", true,  "failed",       false, true),
            ("stopped by hand",                    "chrony",   true,  "inactive",     false, true),
            ("on its way",                         "pvestatd", true,  "activating",   false, false),
            ("being reloaded",                     "pveproxy", true,  "reloading",    false, false),
            ("not wanted",                         "postfix",  false, "inactive",     false, false),
            ("not wanted, and failed",             "postfix",  false, "failed",       false, false),
            ("corosync of a cluster",              "corosync", true,  "inactive",     false, true),
            ("corosync of a node that is alone",   "corosync", true,  "inactive",     true,  false),
            ("a word of systemd we do not know",   "pvestatd", true,  "maintenance",  false, false),
        ];
        for (row, name, enabled, active, alone, expected) in table {
            let service = Service { name: name.parse().unwrap(), enabled, active: active.into() };
            assert_eq!(down(&service, alone), expected, "{row}");
        }
    }
}
