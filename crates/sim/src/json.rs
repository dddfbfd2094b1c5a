//! JSON as PVE's Perl prints it: keys in no order, lists of objects in no order, numbers with 15 digits.
//!
//! A client that leans on an order, or compares raw bodies, must fail here as it would fail there.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::rng::Rng;

/// A JSON value that has not been put in any order yet.
#[derive(Clone, Debug)]
pub(crate) enum Json<'a> {
    /// `null`
    Null,
    /// A whole number.
    Int(i64),
    /// A fraction.
    Num(f64),
    /// A text.
    Str(Cow<'a, str>),
    /// A list whose order means something.
    List(Vec<Json<'a>>),
    /// A list that Perl took out of a hash: its order is another one each time.
    Bag(Vec<Json<'a>>),
    /// An object.
    Map(Row<'a>),
}

/// The fields of an object.
pub(crate) type Row<'a> = Vec<(Cow<'a, str>, Json<'a>)>;

impl<'a> From<&'a str> for Json<'a> {
    fn from(text: &'a str) -> Json<'a> {
        Json::Str(Cow::Borrowed(text))
    }
}

impl From<String> for Json<'_> {
    fn from(text: String) -> Self {
        Json::Str(Cow::Owned(text))
    }
}

impl From<u64> for Json<'_> {
    fn from(number: u64) -> Self {
        Json::Int(number as i64)
    }
}

impl From<u32> for Json<'_> {
    fn from(number: u32) -> Self {
        Json::Int(i64::from(number))
    }
}

impl From<i64> for Json<'_> {
    fn from(number: i64) -> Self {
        Json::Int(number)
    }
}

impl From<f64> for Json<'_> {
    fn from(number: f64) -> Self {
        Json::Num(number)
    }
}

impl From<bool> for Json<'_> {
    /// Perl has no booleans: 1 and 0.
    fn from(yes: bool) -> Self {
        Json::Int(i64::from(yes))
    }
}

impl Json<'_> {
    /// Prints it, in an order of `rng`'s choice.
    pub(crate) fn print(&mut self, out: &mut String, rng: &mut Rng) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Int(number) => print_int(*number, out),
            Json::Num(number) => put(out, format_args!("{}", (*number * 1e13).round() / 1e13)),
            Json::Str(text) => quote(out, text),
            Json::List(items) => print_list(items, out, rng),
            Json::Bag(items) => {
                rng.shuffle(items);
                print_list(items, out, rng);
            }
            Json::Map(row) => {
                rng.shuffle(row);
                out.push('{');
                for (at, (key, value)) in row.iter_mut().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    quote(out, key);
                    out.push(':');
                    value.print(out, rng);
                }
                out.push('}');
            }
        }
    }
}

fn print_list(items: &mut [Json], out: &mut String, rng: &mut Rng) {
    out.push('[');
    for (at, item) in items.iter_mut().enumerate() {
        if at > 0 {
            out.push(',');
        }
        item.print(out, rng);
    }
    out.push(']');
}

/// Writing to a string cannot fail.
fn put(out: &mut String, args: std::fmt::Arguments) {
    let written = out.write_fmt(args);
    debug_assert!(written.is_ok());
}

/// A list of 10,000 guests holds 150,000 whole numbers; the standard formatter takes most of the time that it needs.
fn print_int(number: i64, out: &mut String) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        out.push('-');
    }
    out.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

fn quote(out: &mut String, text: &str) {
    if !text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        for part in ["\"", text, "\""] {
            out.push_str(part);
        }
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => put(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_a_reader_reads_back() {
        let text = "a \"quoted\" \\ back\nslash \u{1} ümlaut";
        let mut json = Json::Map(vec![
            ("text".into(), text.into()),
            ("int".into(), 5_000_000_000u64.into()),
            ("low".into(), i64::MIN.into()),
            ("zero".into(), 0.0.into()),
            ("part".into(), 0.125.into()),
            ("list".into(), Json::List(vec![Json::Null, true.into()])),
        ]);
        let mut out = String::new();
        json.print(&mut out, &mut Rng::new(1));
        let back: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(back["text"], text);
        assert_eq!(back["int"], 5_000_000_000u64);
        assert_eq!(back["low"], i64::MIN);
        assert!(out.contains("\"zero\":0") && !out.contains("0.0"), "Perl prints a whole float as 0: {out}");
        assert_eq!(back["part"], 0.125);
        assert_eq!(back["list"], serde_json::json!([null, 1]));
    }

    #[test]
    fn orders_differ_by_seed_and_repeat_by_seed() {
        let print = |seed| {
            let bag = (0..30).map(|n: i64| Json::Int(n)).collect();
            let mut out = String::new();
            Json::Bag(bag).print(&mut out, &mut Rng::new(seed));
            out
        };
        assert_eq!(print(1), print(1));
        assert_ne!(print(1), print(2));
    }
}
