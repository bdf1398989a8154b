//! OpenSSH's list of allowed signers.
//!
//! The format is that of ssh-keygen(1), section ALLOWED SIGNERS, parsed as strictly as ssh-keygen does: an invalid line
//! invalidates the list, since it may have been meant as a restriction. Two differences: certificate authorities
//! (`cert-authority`) are skipped, so what they certify is not trusted; and principals are not compared with the
//! committer's address, as in git: a listed key may sign.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use crate::app::glob_matches as matches;

/// The allowed keys, each with its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    signers: Vec<Signer>,
    authorities: usize,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signer {
    /// The principals, as written: `ann@example.org`.
    principals: String,
    key: KeyData,
    conditions: Conditions,
}

/// When and for what a key is valid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Conditions {
    authority: bool,
    /// A pattern-list of ssh_config(5).
    namespaces: Option<String>,
    after: Option<Moment>,
    before: Option<Moment>,
}

/// A time as written, in this server's time zone or in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    text: String,
    time: NaiveDateTime,
    utc: bool,
}

impl Moment {
    /// The instant in the moment's own time zone.
    fn same_clock(&self, at: DateTime<FixedOffset>) -> NaiveDateTime {
        let utc = at.naive_utc();
        if self.utc {
            utc
        } else {
            utc.checked_add_offset(*at.offset()).unwrap_or(utc)
        }
    }
}

impl Signers {
    /// Reads the text of a list.
    ///
    /// # Errors
    /// What is invalid, with the number of the line; a list without signers is invalid too.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut signers = Vec::new();
        let mut authorities = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let signer = signer(line).map_err(|why| format!("line {number}: {why}"))?;
            if signer.conditions.authority {
                authorities += 1;
            } else {
                signers.push(signer);
            }
        }
        if signers.is_empty() {
            return Err(match authorities {
                0 => "it is empty".to_owned(),
                _ => "it lists certificate authorities only, which are not supported".to_owned(),
            });
        }
        Ok(Self {
            signers,
            authorities,
        })
    }

    /// The number of lines that were skipped because they name a certificate authority.
    #[must_use]
    pub fn authorities(&self) -> usize {
        self.authorities
    }

    /// Whether a key is in the list at all.
    #[must_use]
    pub fn lists(&self, key: &KeyData) -> bool {
        self.signers.iter().any(|signer| signer.key == *key)
    }

    /// The principals of the first line that allows this key for a namespace at a time (with this server's offset from
    /// UTC).
    ///
    /// # Errors
    /// Why no line does, as the rest of a sentence: `its key is not in the list`.
    pub fn who(
        &self,
        key: &KeyData,
        namespace: &str,
        at: DateTime<FixedOffset>,
    ) -> Result<&str, String> {
        let mut why = None;
        for signer in self.signers.iter().filter(|signer| signer.key == *key) {
            match signer.conditions.refuse(namespace, at) {
                None => return Ok(&signer.principals),
                Some(refusal) => {
                    why.get_or_insert(format!("the key of {} {refusal}", signer.principals));
                }
            }
        }
        Err(why.unwrap_or_else(|| "its key is not in the list".to_owned()))
    }
}

impl Conditions {
    /// Which condition is not met.
    fn refuse(&self, namespace: &str, at: DateTime<FixedOffset>) -> Option<String> {
        if let Some(list) = &self.namespaces
            && !in_pattern_list(list, namespace)
        {
            return Some(format!("may sign for {list:?} and not for {namespace:?}"));
        }
        // Inclusive at both ends, as in OpenSSH's check_allowed_keys_line().
        match (&self.after, &self.before) {
            (Some(after), _) if after.same_clock(at) < after.time => {
                Some(format!("is valid only from {} on", after.text))
            }
            (_, Some(before)) if before.same_clock(at) > before.time => {
                Some(format!("was valid only until {}", before.text))
            }
            _ => None,
        }
    }
}

/// A pattern-list of ssh_config(5), PATTERNS: one must match, and none with a `!` before it.
fn in_pattern_list(list: &str, text: &str) -> bool {
    let mut found = false;
    for pattern in list.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern, text) => return false,
            Some(_) => {}
            None => found |= matches(pattern, text),
        }
    }
    found
}

/// `principals [options] keytype base64 [comment]`
fn signer(line: &str) -> Result<Signer, String> {
    let (principals, rest) = word(line)?;
    let principals = principals.trim_matches('"').to_owned();
    if principals.is_empty() {
        return Err("it names no principal".to_owned());
    }
    if rest.is_empty() {
        return Err("it has no key".to_owned());
    }
    let (first, behind) = word(rest)?;
    let names_a_key = ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|kind| first.starts_with(kind));
    let (conditions, key_text) = if names_a_key {
        (Conditions::default(), rest)
    } else {
        (options(first)?, behind)
    };
    Ok(Signer {
        principals,
        key: key(key_text)?,
        conditions,
    })
}

fn key(text: &str) -> Result<KeyData, String> {
    let mut words = text.split_ascii_whitespace();
    let (Some(kind), Some(base64)) = (words.next(), words.next()) else {
        return Err("it has no key".to_owned());
    };
    PublicKey::from_openssh(&format!("{kind} {base64}"))
        .map(|key| key.key_data().clone())
        .map_err(|error| format!("its key cannot be read: {error}"))
}

/// The first word and the rest; white space within double quotes belongs to the word.
fn word(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return Ok((&text[..at], text[at..].trim_start())),
            _ => {}
        }
    }
    if quoted {
        return Err("a quotation mark has no partner".to_owned());
    }
    Ok((text, ""))
}

fn options(text: &str) -> Result<Conditions, String> {
    let mut conditions = Conditions::default();
    let mut quoted = false;
    let split = text.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    for option in split {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.trim_matches('"');
        let twice = match name.to_ascii_lowercase().as_str() {
            "cert-authority" if !option.contains('=') => {
                std::mem::replace(&mut conditions.authority, true)
            }
            "namespaces" if !value.is_empty() => {
                conditions.namespaces.replace(value.to_owned()).is_some()
            }
            "valid-after" => conditions.after.replace(moment(value)?).is_some(),
            "valid-before" => conditions.before.replace(moment(value)?).is_some(),
            _ => return Err(format!("{option:?} is no option of a signer")),
        };
        if twice {
            return Err(format!("{name} is given twice"));
        }
    }
    if let (Some(after), Some(before)) = (&conditions.after, &conditions.before)
        && before.time <= after.time
    {
        return Err(format!(
            "valid-before={} is not after valid-after={}",
            before.text, after.text
        ));
    }
    Ok(conditions)
}

/// `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with a `Z` for UTC.
fn moment(text: &str) -> Result<Moment, String> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<u32>().ok();
    let read = || {
        if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let year = i32::try_from(number(0, 4)?).ok()?;
        let date = NaiveDate::from_ymd_opt(year, number(4, 6)?, number(6, 8)?)?;
        // Omitted parts are zero.
        let part = |from: usize| match digits.get(from..from + 2) {
            Some(digits) => digits.parse::<u32>().ok(),
            None => Some(0),
        };
        let time = NaiveTime::from_hms_opt(part(8)?, part(10)?, part(12)?)?;
        Some(Moment {
            text: text.to_owned(),
            time: date.and_time(time),
            utc: digits.len() != text.len(),
        })
    };
    read().ok_or_else(|| {
        format!("{text:?} is not a time; YYYYMMDD or YYYYMMDDHHMM[SS], with Z at its end for UTC")
    })
}

#[cfg(test)]
mod tests;
