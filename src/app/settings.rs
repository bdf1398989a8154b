//! The settings file of an app, `/etc/pullpray/APP.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use super::{
    ANSWERS, AbsPath, Answers, App, AppName, Credential, Facts, Invalid, Limits, Problem,
    likeliest_first, masked,
};

/// The version of the file format. A file with another version is rejected.
pub const FORMAT: i64 = 1;

/// The content of a settings file: the answers of init, and limits that init does not prompt for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The answers of init.
    pub answers: Answers,
    /// The limits of a poll.
    pub limits: Limits,
}

/// Why a settings file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(String);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A message quotes the line, which may have a secret.
        f.write_str(&masked(&self.0))
    }
}

impl std::error::Error for SettingsError {}

impl SettingsError {
    /// An error with its line, which is not quoted: it may have a secret.
    fn at(error: &toml::de::Error, text: &str) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        Self(format!("line {line}: {}", error.message().trim_end()))
    }
}

/// The keys of the limits; serde's error messages name the line and the expected type.
#[derive(Debug, Deserialize)]
struct RawLimits {
    format: Option<i64>,
    keep: Option<usize>,
    attempts: Option<u32>,
    deploy_timeout: Option<u64>,
    migrate_timeout: Option<u64>,
    health_timeout: Option<u64>,
    bridge_memory: Option<u64>,
    memory: Option<u64>,
    cpu: Option<u32>,
    tasks: Option<u32>,
    writable: Option<Vec<String>>,
    paths: Option<Vec<String>>,
    timers: Option<BTreeMap<String, String>>,
    credentials: Option<BTreeMap<String, String>>,
    credentials_encrypted: Option<BTreeMap<String, String>>,
    notify_live: Option<bool>,
    heartbeat: Option<String>,
    tests: Option<String>,
    tests_memory: Option<u64>,
    tests_timeout: Option<u64>,
    health_status: Option<Vec<u16>>,
    allow_rewind: Option<bool>,
    deploy_window: Option<String>,
    signed_by: Option<Paths>,
    accept_filters: Option<Vec<String>>,
    max_file: Option<u64>,
    max_size: Option<u64>,
}

/// One path, or a list of some.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a path or a list of paths")]
enum Paths {
    One(String),
    Several(Vec<String>),
}

impl Paths {
    fn parse(self) -> Result<Vec<AbsPath>, Invalid> {
        match self {
            Self::One(path) => Ok(vec![path.parse()?]),
            Self::Several(paths) if paths.is_empty() => Err(Invalid::new("the list is empty")),
            Self::Several(paths) => paths.iter().map(|path| path.parse()).collect(),
        }
    }
}

const LIMIT_KEYS: [&str; 27] = [
    "format",
    "keep",
    "attempts",
    "deploy_timeout",
    "migrate_timeout",
    "health_timeout",
    "bridge_memory",
    "memory",
    "cpu",
    "tasks",
    "writable",
    "paths",
    "timers",
    "credentials",
    "credentials_encrypted",
    "notify_live",
    "heartbeat",
    "tests",
    "tests_memory",
    "tests_timeout",
    "health_status",
    "allow_rewind",
    "deploy_window",
    "signed_by",
    "accept_filters",
    "max_file",
    "max_size",
];

/// A credential; its name is that of a file (systemd.exec(5), `LoadCredential=`).
fn credential(name: String, path: &str, encrypted: bool) -> Result<(String, Credential), Invalid> {
    let known = |it: u8| it.is_ascii_alphanumeric() || b"_-".contains(&it);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(known) {
        return Err(Invalid::new(format!(
            "{name:?} is not a name of letters, digits, - and _, at most 64"
        )));
    }
    let path = path.parse()?;
    Ok((name, Credential { path, encrypted }))
}

/// The value of a key, parsed.
fn parsed<T: FromStr<Err = Invalid>>(
    key: &str,
    text: Option<String>,
) -> Result<Option<T>, SettingsError> {
    let parsed = text.map(|text| text.parse()).transpose();
    parsed.map_err(|invalid| SettingsError(format!("{key}: {invalid}")))
}

/// The values of a list, parsed.
fn parsed_list<T: FromStr<Err = Invalid>>(
    key: &str,
    list: Option<Vec<String>>,
) -> Result<Vec<T>, SettingsError> {
    let list = list.unwrap_or_default().into_iter();
    let parsed = list.map(|text| parsed(key, Some(text)));
    parsed.filter_map(Result::transpose).collect()
}

/// The answers of a file with these further keys.
fn known_keys(text: &str, more: &[&str]) -> Result<Answers, SettingsError> {
    let refuse = |error| SettingsError::at(&error, text);
    let found: BTreeMap<Spanned<String>, toml::Value> = toml::from_str(text).map_err(refuse)?;
    let known = || {
        ANSWERS
            .iter()
            .map(|answer| answer.name)
            .chain(more.iter().copied())
    };
    if let Some(key) = found
        .keys()
        .find(|key| !known().any(|name| name == key.get_ref()))
    {
        let line = text
            .get(..key.span().start)
            .unwrap_or_default()
            .matches('\n')
            .count()
            + 1;
        let key = key.get_ref();
        let keys = likeliest_first(key, known()).join(", ");
        return Err(SettingsError(format!(
            "line {line}: there is no key {key}; the keys are: {keys}"
        )));
    }
    toml::from_str(text).map_err(refuse)
}

impl Answers {
    /// Parses the text of an answers file.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn parse_file(text: &str) -> Result<Self, SettingsError> {
        known_keys(text, &[])
    }
}

impl Settings {
    /// Parses the text of an answers file, or of a settings file, which has limits too.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn parse_answers(text: &str) -> Result<(Answers, Option<Limits>), SettingsError> {
        let is_settings = |file: toml::Table| file.contains_key("format");
        if toml::from_str(text).is_ok_and(is_settings) {
            let Self { answers, limits } = Self::parse(text)?;
            return Ok((answers, Some(limits)));
        }
        Ok((Answers::parse_file(text)?, None))
    }

    /// Parses the text of a settings file.
    ///
    /// # Errors
    /// What is wrong, with the line for TOML errors and unknown keys.
    pub fn parse(text: &str) -> Result<Self, SettingsError> {
        let refuse = |why: String| SettingsError(why.trim_end().to_owned());
        let file: RawLimits =
            toml::from_str(text).map_err(|error| SettingsError::at(&error, text))?;
        match file.format {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(refuse(format!(
                    "format = {other} is not supported; this pullpray supports format = {FORMAT}"
                )));
            }
            None => return Err(refuse(format!("the line `format = {FORMAT}` is missing"))),
        }
        let answers = known_keys(text, &LIMIT_KEYS)?;
        let window = file.deploy_window.filter(|text| !text.trim().is_empty());
        let deploy_window = parsed("deploy_window", window)?;
        let heartbeat = parsed("heartbeat", file.heartbeat)?;
        let tests = file.tests.filter(|text| !text.trim().is_empty());
        if tests
            .as_ref()
            .is_some_and(|text| text.contains(|c: char| c.is_control()))
        {
            return Err(refuse("tests: it is one line for sh".to_owned()));
        }
        // An empty value must not turn signature checks off.
        let signed_by = (file.signed_by.map(Paths::parse).transpose())
            .map_err(|invalid| refuse(format!("signed_by: {invalid}")))?
            .unwrap_or_default();
        let writable = parsed_list("writable", file.writable)?;
        let paths = parsed_list("paths", file.paths)?;
        let timers = (file.timers.unwrap_or_default().iter())
            .map(|(name, when)| Ok((name.parse()?, when.parse()?)))
            .collect::<Result<_, _>>()
            .map_err(|invalid: Invalid| refuse(format!("timers: {invalid}")))?;
        let plain = file.credentials.unwrap_or_default().into_iter();
        let encrypted = file.credentials_encrypted.unwrap_or_default().into_iter();
        let credentials = (plain.map(|(name, path)| (name, path, false)))
            .chain(encrypted.map(|(name, path)| (name, path, true)))
            .map(|(name, path, encrypted)| credential(name, &path, encrypted))
            .collect::<Result<_, _>>()
            .map_err(|invalid| refuse(format!("credentials: {invalid}")))?;
        let default = Limits::default();
        let limits = Limits {
            keep: file.keep.unwrap_or(default.keep),
            attempts: file.attempts.unwrap_or(default.attempts),
            deploy_timeout: file.deploy_timeout.unwrap_or(default.deploy_timeout),
            migrate_timeout: file.migrate_timeout.unwrap_or(default.migrate_timeout),
            health_timeout: file.health_timeout.unwrap_or(default.health_timeout),
            bridge_memory: file.bridge_memory,
            memory: file.memory,
            cpu: file.cpu,
            tasks: file.tasks,
            writable,
            paths,
            credentials,
            timers,
            notify_live: file.notify_live.unwrap_or_default(),
            heartbeat,
            tests,
            tests_memory: file.tests_memory.unwrap_or(default.tests_memory),
            tests_timeout: file.tests_timeout.unwrap_or(default.tests_timeout),
            health_status: file.health_status.unwrap_or_default(),
            // A host could replay an older signed commit: with signatures, do not deploy it by default.
            allow_rewind: file.allow_rewind.unwrap_or(signed_by.is_empty()),
            deploy_window,
            signed_by,
            accept_filters: file.accept_filters.unwrap_or_default(),
            max_file: file.max_file.unwrap_or(default.max_file),
            max_size: file.max_size.unwrap_or(default.max_size),
        };
        if limits.keep < 2 {
            return Err(refuse(
                "keep must be at least 2: the live release and one to roll back to".into(),
            ));
        }
        for (name, value) in [
            ("attempts", u64::from(limits.attempts)),
            ("deploy_timeout", limits.deploy_timeout),
            ("migrate_timeout", limits.migrate_timeout),
            ("health_timeout", limits.health_timeout),
            ("tests_memory", limits.tests_memory),
            ("tests_timeout", limits.tests_timeout),
            ("memory", limits.memory.unwrap_or(1)),
            ("cpu", limits.cpu.map_or(1, u64::from)),
            ("tasks", limits.tasks.map_or(1, u64::from)),
        ] {
            if value == 0 {
                return Err(refuse(format!("{name} must be at least 1")));
            }
        }
        if let Some(other) = (limits.health_status.iter()).find(|code| !(300..600).contains(*code))
        {
            return Err(refuse(format!(
                "health_status: {other} is not a status code from 300 to 599; 200 to 299 are always healthy"
            )));
        }
        Ok(Self { answers, limits })
    }

    /// Resolves these settings to an app.
    ///
    /// # Errors
    /// Every key that is missing or invalid.
    pub fn app(&self, name: &AppName, facts: &Facts) -> Result<App, Vec<Problem>> {
        let mut answers = self.answers.clone();
        answers.set("app", name.as_str());
        answers.parse(facts, self.limits.clone())
    }
}

#[cfg(test)]
mod tests;
