//! Validation of the ledger's strings when it is read: the app's account can write anything into the file, and the
//! strings become paths, are compared with commits, and are printed.

use chrono::DateTime;
use serde::de::{Deserialize, Deserializer, Error};

fn checked<'de, D: Deserializer<'de>>(
    from: D,
    what: &str,
    is: fn(&str) -> bool,
) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if is(&text) {
        return Ok(text);
    }
    Err(Error::custom(format!("{text:?} is not {what}")))
}

/// The id of a commit or another object: a SHA-1 or SHA-256 in hexadecimal.
pub(super) fn commit<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, "a commit", |text| {
        [40, 64].contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// A time, RFC 3339.
pub(super) fn time<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, "a time", |text| {
        DateTime::parse_from_rfc3339(text).is_ok()
    })
}

/// A time, or none.
pub(super) fn time_if_any<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(serde::Deserialize)]
    struct Time(#[serde(deserialize_with = "time")] String);
    Ok(Option::<Time>::deserialize(from)?.map(|time| time.0))
}

/// The name of a release.
pub(super) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, "the name of a release", |text| {
        !text.is_empty() && is_name(text)
    })
}

/// The name of a virtual environment; empty if it is not known yet.
pub(super) fn name_if_any<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    checked(from, "the name of an environment", is_name)
}

fn is_name(text: &str) -> bool {
    !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))
}
