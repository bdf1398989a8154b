//! Who may sign what is deployed: OpenSSH's list of allowed signers.
//!
//! The format is that of ssh-keygen(1), section ALLOWED SIGNERS, read as strictly as ssh-keygen reads it:
//! a line that cannot be read refuses the list, for it may have been meant to say less than it seems.
//! Two things are otherwise. Certificate authorities (`cert-authority`) are passed over, so what they
//! certify is not trusted. And the principals are not compared with the committer's address, as git
//! does not compare them either: a key that is listed may sign.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use crate::app::glob_matches as matches;

/// The keys that are trusted, each with its conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signers {
    signers: Vec<Signer>,
    authorities: usize,
}

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signer {
    /// As they are written: `ann@example.org`.
    principals: String,
    key: KeyData,
    conditions: Conditions,
}

/// When a key counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Conditions {
    authority: bool,
    /// A pattern-list of ssh_config(5).
    namespaces: Option<String>,
    after: Option<Moment>,
    before: Option<Moment>,
}

/// A time as it is written, in this server's time zone or in UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    text: String,
    time: NaiveDateTime,
    utc: bool,
}

impl Moment {
    /// That instant on the clock that the moment is written by.
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
    /// What is wrong, with the number of the line; a list that trusts nobody is wrong, too.
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
                _ => "it lists certificate authorities only, which are not used here".to_owned(),
            });
        }
        Ok(Self {
            signers,
            authorities,
        })
    }

    /// How many lines were passed over because they name a certificate authority.
    #[must_use]
    pub fn authorities(&self) -> usize {
        self.authorities
    }

    /// Whether a key is in the list at all.
    #[must_use]
    pub fn lists(&self, key: &KeyData) -> bool {
        self.signers.iter().any(|signer| signer.key == *key)
    }

    /// Who signs with this key for a namespace at a time (with this server's offset from UTC): the
    /// principals of the first line that allows it.
    ///
    /// # Errors
    /// Why no line does, a fragment: `its key is not in the list`.
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
    /// Why they are not met.
    fn refuse(&self, namespace: &str, at: DateTime<FixedOffset>) -> Option<String> {
        if let Some(list) = &self.namespaces
            && !in_pattern_list(list, namespace)
        {
            return Some(format!("may sign for {list:?} and not for {namespace:?}"));
        }
        // Both ends belong to it, as in OpenSSH's check_allowed_keys_line().
        match (&self.after, &self.before) {
            (Some(after), _) if after.same_clock(at) < after.time => {
                Some(format!("counts from {} on only", after.text))
            }
            (_, Some(before)) if before.same_clock(at) > before.time => {
                Some(format!("counted until {} only", before.text))
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
            return Err(format!("{name} is said twice"));
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
        // What is left out is zero.
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
mod tests {
    use super::*;
    use chrono::TimeZone;

    const ANN: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const GIT: &str = "git";

    fn ann() -> KeyData {
        key(ANN).unwrap()
    }
    fn bob() -> KeyData {
        KeyData::Ed25519(ssh_key::public::Ed25519PublicKey([7; 32]))
    }
    /// Noon of the 23rd, at a server that is two hours ahead of UTC.
    fn noon() -> DateTime<FixedOffset> {
        FixedOffset::east_opt(7200)
            .and_then(|zone| zone.with_ymd_and_hms(2026, 11, 23, 12, 0, 0).single())
            .unwrap()
    }
    fn who(list: &str) -> Result<String, String> {
        Signers::parse(list)?
            .who(&ann(), GIT, noon())
            .map(str::to_owned)
    }

    #[test]
    fn lines_are_read_as_ssh_keygen_reads_them() {
        for line in [
            format!("ann@example.org {ANN}"),
            format!("# a comment\n\n   ann@example.org\t{ANN} ann's laptop\r\n"),
            format!("ann@example.org  namespaces=\"git,file\" {ANN}"),
            format!("ann@example.org NAMESPACES=\"g?t\" {ANN}"),
            format!("ann@example.org namespaces=git,valid-after=20200101 {ANN}"),
            format!(
                "ann@example.org valid-after=\"20261123\",valid-before=\"203001010000Z\" {ANN}"
            ),
            format!("\"ann@example.org\" {}", ANN.replace(' ', "  \t")),
            format!("bob cert-authority {ANN}\nann@example.org {ANN}"),
            format!("bob valid-before=20200101 {ANN}\nann@example.org {ANN}"),
        ] {
            assert_eq!(who(&line).as_deref(), Ok("ann@example.org"), "{line}");
        }
        let several = who(&format!("\"ann smith\",*@example.org {ANN}"));
        assert_eq!(several.as_deref(), Ok("ann smith\",*@example.org"));
    }

    #[test]
    fn a_key_counts_where_and_when_it_is_said() {
        for (options, words) in [
            (
                "namespaces=\"file\"",
                "may sign for \"file\" and not for \"git\"",
            ),
            ("namespaces=\"*,!git\"", "and not for \"git\""),
            ("valid-after=20261124", "counts from 20261124 on only"),
            ("valid-before=20261123", "counted until 20261123 only"),
            // Noon here is ten o'clock in Greenwich.
            (
                "valid-after=202611231001Z",
                "counts from 202611231001Z on only",
            ),
            (
                "valid-before=20261123095959Z",
                "counted until 20261123095959Z only",
            ),
            (
                "valid-before=202611231159",
                "counted until 202611231159 only",
            ),
        ] {
            let said = who(&format!("ann {options} {ANN}"));
            assert!(
                said.as_ref()
                    .is_err_and(|why| why.contains(words) && why.contains("the key of ann")),
                "{options}: {said:?}"
            );
        }
        for options in [
            "valid-after=202611231000Z",
            "valid-before=20261123100000Z",
            "valid-after=202611231200",
            "valid-before=20261123120000",
            "valid-after=20261123,valid-before=20261124",
        ] {
            assert_eq!(
                who(&format!("ann {options} {ANN}")).as_deref(),
                Ok("ann"),
                "{options}"
            );
        }
        let list = Signers::parse(&format!("ann {ANN}\nca cert-authority {ANN}")).unwrap();
        assert_eq!(list.authorities(), 1);
        assert_eq!(
            list.who(&bob(), GIT, noon()),
            Err("its key is not in the list".into())
        );
        assert!(list.lists(&ann()) && !list.lists(&bob()));
    }

    #[test]
    fn what_cannot_be_read_refuses_the_list() {
        for (line, words) in [
            (String::new(), "it is empty"),
            ("# nobody\n \n".into(), "it is empty"),
            (
                format!("ca cert-authority {ANN}"),
                "certificate authorities only",
            ),
            (format!("ann {ANN}\nbob"), "line 2: it has no key"),
            (format!("ann {ANN}\n\n{ANN}"), "line 3: "),
            ("ann ssh-ed25519".into(), "line 1: it has no key"),
            (
                "ann ssh-ed25519 AAAA".into(),
                "line 1: its key cannot be read",
            ),
            (format!("ann namespaces=\"git {ANN}"), "no partner"),
            (format!("ann namespaces= {ANN}"), "is no option of a signer"),
            (
                format!("ann touch-required {ANN}"),
                "\"touch-required\" is no option",
            ),
            (
                format!("ann valid-after=2026 {ANN}"),
                "\"2026\" is not a time",
            ),
            (format!("ann valid-after=20261301 {ANN}"), "is not a time"),
            (format!("ann valid-after=+2026113 {ANN}"), "is not a time"),
            (format!("ann valid-after=2026112324 {ANN}"), "is not a time"),
            (
                format!("ann valid-after=20260101,valid-after=20270101 {ANN}"),
                "said twice",
            ),
            (
                format!("ann valid-after=20270101,valid-before=20260101 {ANN}"),
                "is not after",
            ),
        ] {
            let said = Signers::parse(&line).err();
            assert!(
                said.as_ref().is_some_and(|why| why.contains(words)),
                "{line:?}: {said:?}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,60}", options in "[a-z=\",0-9Z-]{0,30}") {
            let _ = Signers::parse(&text);
            let _ = Signers::parse(&format!("ann {options} {ANN}"));
        }
    }
}
