//! What a person said, before anything of it is believed.

use std::convert::Infallible;
use std::str::FromStr;

use serde::Deserialize;

use super::{Facts, Limits};

/// One answer as it was given. In a file it may be a string, a number, or a list of strings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub struct RawAnswer(pub String);

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Text(String),
    Number(i64),
    List(Vec<String>),
}

impl From<Raw> for RawAnswer {
    fn from(raw: Raw) -> Self {
        Self(match raw {
            Raw::Text(text) => text,
            Raw::Number(number) => number.to_string(),
            Raw::List(list) => list.join(","),
        })
    }
}

impl FromStr for RawAnswer {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

/// Declares the answers once: flag, variable, key of the answers file and of the settings file.
macro_rules! answers {
    ($($(#[doc = $help:literal])+ $name:ident $value:literal $env:literal;)+) => {
        /// What was said, each as it was given: flags, `PULLPRAY_…` variables or a file.
        #[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[command(next_help_heading = "Answers")]
        pub struct Answers {
            $($(#[doc = $help])+
            #[arg(long, value_name = $value, env = $env, hide_env_values = true, hide_env = true)]
            pub $name: Option<RawAnswer>,)+
        }

        /// The names of all answers, in the order in which they are asked.
        pub const NAMES: &[&str] = &[$(stringify!($name)),+];

        impl Answers {
            /// These answers, completed by others where nothing was said. Branch, tag and commit are
            /// one answer: a tag here replaces a branch there.
            #[must_use]
            pub fn or(self, mut other: Self) -> Self {
                if self.tracks().next().is_some() {
                    (other.branch, other.tag, other.commit) = (None, None, None);
                }
                Self { $($name: self.$name.or(other.$name),)+ }
            }
            /// The answer of that name.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<&str> {
                match name {
                    $(stringify!($name) => self.$name.as_ref().map(|said| said.0.as_str()),)+
                    _ => None,
                }
            }
            /// Takes an answer; a name that does not exist is passed over.
            pub fn set(&mut self, name: &str, text: &str) {
                match name {
                    $(stringify!($name) => self.$name = Some(RawAnswer(text.to_owned())),)+
                    _ => {}
                }
            }
        }
    };
}

answers! {
    /// The repository, over ssh: git@github.com:acme/todo.git
    repo "URL" "PULLPRAY_REPO";
    /// The branch to follow [default: main]
    branch "BRANCH" "PULLPRAY_BRANCH";
    /// Instead of a branch: the highest version among the tags of this pattern, for example 'v*'
    tag "PATTERN" "PULLPRAY_TAG";
    /// Instead of a branch: this commit and no other, by all 40 digits
    commit "COMMIT" "PULLPRAY_COMMIT";
    /// The app's name on this server [default: the repository's name]
    app "NAME" "PULLPRAY_APP";
    /// The WSGI callable, for example todo.wsgi:application [default: found in the repository]
    wsgi "MODULE" "PULLPRAY_WSGI";
    /// DJANGO_SETTINGS_MODULE [default: found in the repository's manage.py]
    settings "MODULE" "PULLPRAY_SETTINGS";
    /// The account that runs the app [default: gunicorn, for a further app gunicorn-NAME]
    user "USER" "PULLPRAY_USER";
    /// The app's own group [default: called as the account]
    group "GROUP" "PULLPRAY_GROUP";
    /// Your own account, to become a member of that group; none if empty
    operator "USER" "PULLPRAY_OPERATOR";
    /// Where the app lives [default: /var/www/projects/NAME]
    project_dir "DIR" "PULLPRAY_PROJECT_DIR";
    /// Where the web server finds its static files [default: /www/static/NAME]
    static_dir "DIR" "PULLPRAY_STATIC_DIR";
    /// Where the app listens: an address, a port, or a socket's path [default: the next free port from 8000]
    bind "ADDRESS" "PULLPRAY_BIND";
    /// gunicorn's worker processes [default: 2 for each processor and 1, at most 9]
    workers "N" "PULLPRAY_WORKERS";
    /// What to ask to learn whether the app is healthy [default: /]
    health_path "PATH" "PULLPRAY_HEALTH_PATH";
    /// With which Host header; one of the project's ALLOWED_HOSTS [default: localhost]
    health_host "HOST" "PULLPRAY_HEALTH_HOST";
    /// Minutes between polls, or five crontab fields [default: */5 * * * *]
    schedule "WHEN" "PULLPRAY_SCHEDULE";
    /// The git host's key, SHA256:…; needed unless the host publishes it (github.com, bitbucket.org)
    host_key "FINGERPRINT" "PULLPRAY_HOST_KEY";
    /// The interpreter for virtual environments [default: /usr/bin/python3]
    python "PATH" "PULLPRAY_PYTHON";
    /// What outlives a release, with commas between: db.sqlite3,media/
    shared_paths "PATHS" "PULLPRAY_SHARED_PATHS";
}

impl Answers {
    /// Which of the three answers that say what is followed were given.
    pub(super) fn tracks(&self) -> impl Iterator<Item = &'static str> {
        let said = |name: &&str| self.get(name).is_some_and(|text| !text.trim().is_empty());
        ["branch", "tag", "commit"].into_iter().filter(said)
    }

    /// What of these answers would change an app that has others, as flags: `--branch staging`. Empty if
    /// they say the same, in whatever words.
    #[must_use]
    pub fn changes(&self, saved: &Self, facts: &Facts) -> String {
        let before = saved.parse(facts, Limits::default());
        let mut flags = Vec::new();
        for name in NAMES {
            let Some(text) = self.get(name) else { continue };
            let mut one = Self::default();
            one.set(name, text);
            if one.or(saved.clone()).parse(facts, Limits::default()) != before {
                flags.push(format!("--{} {}", name.replace('_', "-"), for_shell(text)));
            }
        }
        flags.join(" ")
    }
}

/// A word that a shell takes as it is, for commands to be copied.
fn for_shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_in_other_words_changes_nothing() {
        let said = |text: &str| toml::from_str::<Answers>(text).unwrap_or_default();
        let saved = said(
            "app = \"todo\"\nrepo = \"git@github.com:acme/todo.git\"\nbranch = \"main\"\nbind = \"127.0.0.1:8000\"",
        );
        for (text, flags) in [
            ("branch = \"main\"\nbind = \"8000\"", ""),
            (
                "branch = \"staging\"\nbind = \"8001\"",
                "--branch staging --bind 8001",
            ),
            ("tag = \"v*\"", "--tag 'v*'"),
            ("health_host = \"it's\"", r"--health-host 'it'\''s'"),
        ] {
            assert_eq!(said(text).changes(&saved, &Facts::default()), flags);
        }
    }

    #[test]
    fn a_file_may_say_numbers_and_lists() {
        let said: Result<Answers, _> =
            toml::from_str("workers = 3\nshared_paths = [\"db.sqlite3\", \"media/\"]\n");
        assert!(said.is_ok_and(|said| said.get("workers") == Some("3")
            && said.get("shared_paths") == Some("db.sqlite3,media/")));
        assert!(toml::from_str::<Answers>("worker = 3\n").is_err());
    }
}
