//! Words of others, made fit to be shown: what would break a line, move the cursor or turn the reading direction is
//! replaced. PVE allows none of that in a name; a server that only claims to be PVE may send it.

use std::borrow::Cow;

/// The text on one line: a space for each line's end and tab, a `U+FFFD` for each other sign that is not seen but does
/// something.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let shown = |sign| match sign {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        sign if acts(sign) => char::REPLACEMENT_CHARACTER,
        sign => sign,
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// Control signs, line and paragraph ends, and what embeds, overrides or isolates a reading direction (Unicode TR9).
fn acts(sign: char) -> bool {
    sign.is_control()
        || matches!(sign, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_shown() {
        for (name, given, shown) in [
            ("a name", "web01", "web01"),
            ("another script", "سرور-データ", "سرور-データ"),
            ("a new line", "web\nFAKE: critical\r", "web FAKE: critical "),
            ("a terminal's orders", "\u{1b}[2Jweb\u{7}\u{9b}", "\u{fffd}[2Jweb\u{fffd}\u{fffd}"),
            ("another direction", "web\u{202e}exe", "web\u{fffd}exe"),
            ("a line end of Unicode", "a\u{2028}b", "a b"),
        ] {
            assert_eq!(plain(given), shown, "{name}");
        }
    }
}
