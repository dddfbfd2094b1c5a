//! Where a value stands on its ladder, given where it stood and what this round saw.

use crate::policy::{Marks, Rung};

/// Raised above a mark, left only below a lower one, so that a value which hovers at its mark rings once and
/// not on every poll. `percent` is `None` when the round did not see it: the last verdict stands.
pub(crate) fn judge(last: Rung, percent: Option<f64>, marks: &Marks) -> Rung {
    let Some(percent) = percent else { return last };
    let above = |rung: Rung| marks.mark(rung).is_some_and(|mark| percent > mark);
    let raised = [Rung::Critical, Rung::High].into_iter().find(|rung| above(*rung)).unwrap_or(Rung::Well);
    let mut rung = last.max(raised);
    while rung > raised {
        // A rung without a mark is one that the settings took away: nothing holds the value there.
        let below = marks.clear_mark(rung).is_none_or(|clear| percent < clear);
        if !below {
            break;
        }
        rung = match rung {
            Rung::Critical => Rung::High,
            Rung::High | Rung::Well => Rung::Well,
        };
    }
    rung
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    #[test]
    fn one_verdict_per_poll() {
        check("raised above 90, cleared below 88", "80 90 90.1 89 88 87.9", ". . ! ! ! .");
        check("hovering at the mark rings once", "90 91 90 91 88 91", ". ! ! ! ! !");
        check("an unseen poll clears nothing", "91 - - 80", "! ! ! .");
        check("an unseen poll raises nothing", "- - 91", ". . !");
        check("two marks are one ladder", "91 96 94 93 92.9 89 87", "! # # # ! ! .");
        check("straight to the top and down", "80 97 50", ". # .");
        check("down from the top through the band of the lower mark", "97 89 88 87.9", "# ! ! .");
        check("exactly at the upper mark is not above it", "95 95.1 95", "! # #");

        #[track_caller]
        fn check(row: &str, polls: &str, expected: &str) {
            let marks = Marks::new(90.0, Some(95.0), 2.0, SignedDuration::ZERO).unwrap();
            let mut rung = Rung::Well;
            let verdicts = polls.split(' ').map(|percent| {
                rung = judge(rung, percent.parse().ok(), &marks);
                match rung {
                    Rung::Well => ".",
                    Rung::High => "!",
                    Rung::Critical => "#",
                }
            });
            assert_eq!(verdicts.collect::<Vec<_>>().join(" "), expected, "{row}: {polls}");
        }
    }

    #[test]
    fn a_rung_that_the_settings_took_away_holds_nothing() {
        let marks = Marks::new(90.0, None, 2.0, SignedDuration::ZERO).unwrap();
        assert_eq!(judge(Rung::Critical, Some(96.0), &marks), Rung::High);
        assert_eq!(judge(Rung::Critical, Some(80.0), &marks), Rung::Well);
    }
}
