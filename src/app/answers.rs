//! The answers as given, before validation.

use std::convert::Infallible;
use std::str::FromStr;

use serde::Deserialize;

use super::resolve::Workers;
use super::{
    AbsPath, AccountName, AppName, Bind, Branch, Channel, CommitId, Facts, Fingerprint, GroupName,
    HealthHost, HealthPath, Invalid, Limits, Module, ProcessName, Proxy, RepoUrl, Schedule,
    SharedPath, SshHost, TagPattern, Wsgi, masked,
};

/// One answer as given. A file may give it as a string, a number, or a list of strings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub struct RawAnswer(pub String);

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a string, a number or a list of strings"
)]
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

/// One answer of init.
#[derive(Debug)]
pub struct Answer {
    /// Its flag (with dashes), and its key in the answers file and the settings file.
    pub name: &'static str,
    /// Whether it may be empty.
    pub optional: bool,
    /// The label of its question; empty if the wizard does not prompt for it.
    pub prompt: &'static str,
    /// The hint above the question; may be empty.
    pub hint: &'static str,
    /// Validates a value that is not empty.
    pub(super) check: fn(&str) -> Result<(), Invalid>,
}

fn check<T: FromStr<Err = Invalid>>(text: &str) -> Result<(), Invalid> {
    text.parse::<T>().map(drop)
}

fn check_list<T: FromStr<Err = Invalid>>(text: &str) -> Result<(), Invalid> {
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .try_for_each(check::<T>)
}

/// Whether this is a version of Python, such as 3.13, for which init finds the interpreter.
#[must_use]
pub fn is_python_version(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    text.split_once('.')
        .is_some_and(|(major, minor)| digits(major) && digits(minor))
}

fn check_python(text: &str) -> Result<(), Invalid> {
    if is_python_version(text) {
        return Ok(());
    }
    check::<AbsPath>(text)
}

/// Declares each answer once: help, name, value name, environment variable, check, `optional`, and `=>` prompt and hint.
macro_rules! answers {
    ($($(#[doc = $help:literal])+ $name:ident $value:literal $env:literal, $check:expr
        $(, $optional:ident)? $(=> $prompt:literal $hint:literal)?;)+) => {
        /// All answers, each as given by a flag, a `PULLPRAY_…` variable or a file.
        #[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
        #[command(next_help_heading = "Answers")]
        pub struct Answers {
            $($(#[doc = $help])+
            #[arg(long, value_name = $value, env = $env, hide_env_values = true, hide_env = true)]
            pub $name: Option<RawAnswer>,)+
        }

        /// All answers; those with a prompt in the order of the wizard.
        pub const ANSWERS: &[Answer] = &[$(Answer {
            name: stringify!($name),
            optional: !concat!($(stringify!($optional))?).is_empty(),
            prompt: concat!($($prompt)?),
            hint: concat!($($hint)?),
            check: $check,
        }),+];

        impl Answers {
            /// Fills in missing answers from `other`. Branch, tag and commit count as one answer: a
            /// tag here replaces a branch there.
            #[must_use]
            pub fn or(self, mut other: Self) -> Self {
                if self.tracks().next().is_some() {
                    (other.branch, other.tag, other.commit) = (None, None, None);
                }
                Self { $($name: self.$name.or(other.$name),)+ }
            }
            /// The answer with this name.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<&str> {
                match name {
                    $(stringify!($name) => self.$name.as_ref().map(|raw| raw.0.as_str()),)+
                    _ => None,
                }
            }
            /// Sets an answer; ignores an unknown name.
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
    /// SSH address of the repository: git@github.com:acme/todo.git
    repo "URL" "PULLPRAY_REPO", check::<RepoUrl>
        => "Repository to deploy" "ssh address, for example git@github.com:acme/todo.git";
    /// The branch to follow [default: main]
    branch "BRANCH" "PULLPRAY_BRANCH", check::<Branch>
        => "Branch" "";
    /// Follow the highest version among the tags that match this pattern, for example 'v*', instead of a branch
    tag "PATTERN" "PULLPRAY_TAG", check::<TagPattern>;
    /// Deploy exactly this commit (all 40 digits), instead of a branch
    commit "COMMIT" "PULLPRAY_COMMIT", check::<CommitId>;
    /// The app's name on this server [default: the repository's name]
    app "NAME" "PULLPRAY_APP", check::<AppName>
        => "Name of the app" "used for its files, units and directories on this server";
    /// The directory of the repository with the project, if it is not at the top: backend
    subdir "DIR" "PULLPRAY_SUBDIR", check::<SharedPath>, optional;
    /// The WSGI callable, for example todo.wsgi:application [default: found in the repository]
    wsgi "MODULE" "PULLPRAY_WSGI", check::<Wsgi>, optional
        => "WSGI module" "for example todo.wsgi:application; empty to detect it in the repository";
    /// DJANGO_SETTINGS_MODULE [default: found in the repository's wsgi.py, else manage.py]
    settings "MODULE" "PULLPRAY_SETTINGS", check::<Module>, optional;
    /// The account that runs the app [default: gunicorn, or gunicorn-NAME if another app uses it]
    user "USER" "PULLPRAY_USER", check::<AccountName>
        => "Account it runs as" "";
    /// The app's group [default: the name of the account]
    group "GROUP" "PULLPRAY_GROUP", check::<GroupName>
        => "Group of the hosted apps" "";
    /// Your login, to add to that group (may read logs, edit shared files); empty for none
    operator "USER" "PULLPRAY_OPERATOR", check::<AccountName>, optional
        => "Your login" "joins the group, to read logs, edit shared files and restart the app; \"none\" for no one";
    /// App directory [default: /var/www/projects/NAME]
    project_dir "DIR" "PULLPRAY_PROJECT_DIR", check::<AbsPath>
        => "App directory" "";
    /// Directory from which the web server serves static files [default: /www/static/NAME]
    static_dir "DIR" "PULLPRAY_STATIC_DIR", check::<AbsPath>
        => "Static files directory" "nginx serves it as /static/";
    /// Persistent files (shared between releases), separated by commas: db.sqlite3,media/
    shared_paths "PATHS" "PULLPRAY_SHARED_PATHS", check_list::<SharedPath>, optional
        => "Persistent files" "shared between releases, separated by commas: db.sqlite3,media/; empty for none";
    /// Processes that run beside web, separated by commas, as the repository's Procfile names them: worker,beat
    processes "NAMES" "PULLPRAY_PROCESSES", check_list::<ProcessName>, optional;
    /// Listen address: an address, a port, or the path of a unix socket [default: the next free port from 8000]
    bind "ADDRESS" "PULLPRAY_BIND", check::<Bind>
        => "Listen address" "the address that nginx passes requests to, or the path of a unix socket";
    /// gunicorn's worker processes [default: 2 per processor plus 1, at most 9]
    workers "N" "PULLPRAY_WORKERS", check::<Workers>;
    /// Health check path [default: /]
    health_path "PATH" "PULLPRAY_HEALTH_PATH", check::<HealthPath>
        => "Health check path" "";
    /// Hostname for the health check; one of the project's ALLOWED_HOSTS [default: localhost]
    health_host "HOST" "PULLPRAY_HEALTH_HOST", check::<HealthHost>
        => "Hostname for the health check" "one of the project's ALLOWED_HOSTS";
    /// Minutes between polls, or five crontab(5) fields; or an interval such as 30s, at which a systemd timer polls [default: */5 * * * *]
    schedule "WHEN" "PULLPRAY_SCHEDULE", check::<Schedule>
        => "Poll every … minutes" "a number of minutes, or five crontab(5) fields; 30s for a systemd timer instead of cron";
    /// Where failures are reported, separated by commas: ops@example.org, or the https address of a chat's webhook; an address with a secret goes into the answers file or the variable, not on the command line
    notify "ADDRESSES" "PULLPRAY_NOTIFY", check_list::<Channel>, optional
        => "Report failures to" "a mail address, or the https address of a chat's webhook; \"none\" for nobody";
    /// Fingerprint of the git host's key, SHA256:…; required unless the host publishes it (github.com, gitlab.com, bitbucket.org, codeberg.org, Azure)
    host_key "FINGERPRINT" "PULLPRAY_HOST_KEY", check::<Fingerprint>;
    /// How ssh reaches the git host: a proxy (http://USER:PASSWORD@HOST:PORT or socks5://…), a jump host (USER@HOST:PORT), or a command with %h and %p; a password goes into the answers file or the variable, not on the command line
    proxy "PROXY" "PULLPRAY_PROXY", check::<Proxy>, optional;
    /// Another address of the git host's ssh; where port 22 is closed, init finds those of github.com, gitlab.com and bitbucket.org itself: ssh.github.com:443
    ssh_host "HOST:PORT" "PULLPRAY_SSH_HOST", check::<SshHost>, optional;
    /// Python interpreter for virtual environments, or its version: 3.13 [default: /usr/bin/python3]
    python "PATH" "PULLPRAY_PYTHON", check_python;
}

impl Answers {
    /// Which of branch, tag and commit were given.
    pub(super) fn tracks(&self) -> impl Iterator<Item = &'static str> {
        let given = |name: &&str| self.get(name).is_some_and(|text| !text.trim().is_empty());
        ["branch", "tag", "commit"].into_iter().filter(given)
    }

    /// The answers that differ in value from the saved ones, as flags: `--branch staging`. Empty if none
    /// does, however they are spelled.
    #[must_use]
    pub fn changes(&self, saved: &Self, facts: &Facts) -> String {
        let before = saved.parse(facts, Limits::default());
        let mut flags = Vec::new();
        for Answer { name, .. } in ANSWERS {
            let Some(text) = self.get(name) else { continue };
            let mut one = Self::default();
            one.set(name, text);
            if one.or(saved.clone()).parse(facts, Limits::default()) != before {
                flags.push(format!(
                    "--{} {}",
                    name.replace('_', "-"),
                    for_shell(&masked(text))
                ));
            }
        }
        flags.join(" ")
    }
}

/// Quotes a word for a shell where needed, for commands to be copied.
#[must_use]
pub fn for_shell(text: &str) -> String {
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
    fn equal_values_in_other_spellings_are_no_change() {
        let parsed = |text: &str| toml::from_str::<Answers>(text).unwrap_or_default();
        let saved = parsed(
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
            assert_eq!(parsed(text).changes(&saved, &Facts::default()), flags);
        }
    }

    #[test]
    fn a_file_may_contain_numbers_and_lists() {
        let parsed =
            Answers::parse_file("workers = 3\nshared_paths = [\"db.sqlite3\", \"media/\"]\n");
        assert!(
            parsed.is_ok_and(|answers| answers.get("workers") == Some("3")
                && answers.get("shared_paths") == Some("db.sqlite3,media/"))
        );
        let error = Answers::parse_file("repo = \"x\"\nworker = 3\n").err();
        assert!(error.is_some_and(|error| {
            error
                .to_string()
                .starts_with("line 2: there is no key worker; the keys are: workers, ")
        }));
    }
}
