//! Answers judged: each parsed, with defaults worked out from the facts, and all that is wrong with them
//! named at once.

use std::fmt;
use std::str::FromStr;

use super::{Answers, App, Bind, Facts, Fingerprint, Invalid, Limits, RepoUrl, Track};

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The answer's name, as in [`super::NAMES`].
    pub name: &'static str,
    /// Why it was refused; `None` if it is missing.
    pub invalid: Option<Invalid>,
}

impl Problem {
    /// The flag that gives this answer.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.invalid {
            Some(invalid) => write!(f, "{} {invalid}", self.flag()),
            None => write!(f, "{} is missing", self.flag()),
        }
    }
}

/// Collects problems, so that a person hears of all of them at once.
struct Reader<'a> {
    answers: &'a Answers,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The answer or its default, parsed; a missing one without default is a problem.
    fn read<T: FromStr<Err = Invalid>>(
        &mut self,
        name: &'static str,
        default: Option<String>,
    ) -> Option<T> {
        let said = self
            .answers
            .get(name)
            .map(str::to_owned)
            .filter(|text| !text.trim().is_empty());
        let Some(text) = said.or(default) else {
            self.problems.push(Problem {
                name,
                invalid: None,
            });
            return None;
        };
        self.parsed(name, &text)
    }

    /// The answer, if one was given and it is not empty.
    fn optional<T: FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Option<T> {
        let text = self
            .answers
            .get(name)
            .filter(|text| !text.trim().is_empty())?
            .to_owned();
        self.parsed(name, &text)
    }

    /// What is followed: one of three answers.
    fn track(&mut self, default: Option<String>) -> Option<Track> {
        let said: Vec<&'static str> = self.answers.tracks().collect();
        if let [first, second, ..] = said[..] {
            self.problems.push(Problem {
                name: second,
                invalid: Some(
                    Invalid::new(format!("and {first} exclude each other"))
                        .hint("one of branch, tag and commit says what is followed"),
                ),
            });
            return None;
        }
        match said.first() {
            Some(&"tag") => self.read("tag", None).map(Track::Tag),
            Some(&"commit") => self.read("commit", None).map(Track::Commit),
            _ => self.read("branch", default).map(Track::Branch),
        }
    }

    fn parsed<T: FromStr<Err = Invalid>>(&mut self, name: &'static str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.problems.push(Problem {
                    name,
                    invalid: Some(invalid),
                });
                None
            }
        }
    }
}

impl Answers {
    /// Turns the answers into an app, with defaults worked out from the facts.
    ///
    /// # Errors
    /// All problems at once: what is missing and what was refused.
    pub fn parse(&self, facts: &Facts, limits: Limits) -> Result<App, Vec<Problem>> {
        let mut reader = Reader {
            answers: self,
            problems: Vec::new(),
        };
        let repo: Option<RepoUrl> = reader.read("repo", None);
        // Without a repository there is nothing to take the name from, and one complaint is enough.
        let name = match (&repo, self.get("app")) {
            (None, None) => None,
            _ => reader.read("app", self.suggested("app", facts)),
        };
        let track = reader.track(self.suggested("branch", facts));
        let host_key: Option<Fingerprint> = match &repo {
            Some(_) => reader.read("host_key", self.suggested("host_key", facts)),
            None => reader.optional("host_key"),
        };
        let wsgi = reader.optional("wsgi");
        let settings = reader.optional("settings");
        let operator = reader.optional("operator");
        let user = name
            .as_ref()
            .and_then(|_| reader.read("user", self.suggested("user", facts)));
        let group = name
            .as_ref()
            .and_then(|_| reader.read("group", self.suggested("group", facts)));
        let project_dir = name
            .as_ref()
            .and_then(|_| reader.read("project_dir", self.suggested("project_dir", facts)));
        let static_dir = name
            .as_ref()
            .and_then(|_| reader.read("static_dir", self.suggested("static_dir", facts)));
        let bind = reader.read::<Bind>("bind", self.suggested("bind", facts));
        let workers = reader.read::<Workers>("workers", self.suggested("workers", facts));
        let health_path = reader.read("health_path", self.suggested("health_path", facts));
        let health_host = reader.read("health_host", self.suggested("health_host", facts));
        let schedule = reader.read("schedule", self.suggested("schedule", facts));
        let python = reader.read("python", self.suggested("python", facts));
        let shared_paths = self
            .get("shared_paths")
            .unwrap_or_default()
            .split(',')
            .filter(|text| !text.trim().is_empty())
            .filter_map(|text| reader.parsed("shared_paths", text))
            .collect();
        let problems = reader.problems;
        let complete = || {
            Some(App {
                name: name?,
                repo: repo?,
                track: track?,
                wsgi,
                settings,
                user: user?,
                group: group?,
                operator,
                project_dir: project_dir?,
                static_dir: static_dir?,
                bind: bind?,
                workers: workers?.0,
                health_path: health_path?,
                health_host: health_host?,
                schedule: schedule?,
                host_key: host_key?,
                python: python?,
                shared_paths,
                limits,
                program: facts.program.clone(),
                systemctl: facts.systemctl.clone(),
            })
        };
        match complete() {
            Some(app) if problems.is_empty() => Ok(app),
            _ => Err(problems),
        }
    }

    /// What an answer would be if nothing were said, worked out from what is known so far.
    #[must_use]
    pub fn suggested(&self, name: &str, facts: &Facts) -> Option<String> {
        let repo = || {
            self.get("repo")
                .and_then(|text| text.parse::<RepoUrl>().ok())
        };
        let app = || match self.get("app") {
            Some(text) => text.parse().ok(),
            None => repo().and_then(|repo| repo.suggested_name()),
        };
        match name {
            "branch" => self.tracks().next().is_none().then(|| "main".to_owned()),
            "app" => app().map(|name| name.to_string()),
            "user" => app().map(|name| facts.account(&name)),
            // Apps that share a group share everything that it may read and write: code, secrets, database.
            "group" => self.get("user").map_or_else(
                || self.suggested("user", facts),
                |user| Some(user.to_owned()),
            ),
            "project_dir" => app().map(|name| format!("/var/www/projects/{name}")),
            "static_dir" => app().map(|name| format!("/www/static/{name}")),
            "bind" => Some(facts.bind().to_string()),
            "workers" => Some(facts.workers().to_string()),
            "health_path" => Some("/".to_owned()),
            "health_host" => Some("localhost".to_owned()),
            "schedule" => Some(Facts::schedule().to_owned()),
            "host_key" => repo()
                .and_then(|repo| repo.published_host_key())
                .map(|key| key.to_string()),
            "python" => Some("/usr/bin/python3".to_owned()),
            _ => None,
        }
    }

    /// Checks one answer alone, for a wizard that refuses it on the spot.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check_one(name: &str, text: &str) -> Result<(), Invalid> {
        fn taken<T: FromStr<Err = Invalid>>(text: &str) -> Result<(), Invalid> {
            text.parse::<T>().map(drop)
        }
        if text.trim().is_empty() {
            return match name {
                "wsgi" | "settings" | "operator" | "shared_paths" => Ok(()),
                _ => Err(Invalid::new("an answer is needed here")),
            };
        }
        match name {
            "repo" => taken::<RepoUrl>(text),
            "branch" => taken::<super::Branch>(text),
            "tag" => taken::<super::TagPattern>(text),
            "commit" => taken::<super::CommitId>(text),
            "app" => taken::<super::AppName>(text),
            "wsgi" => taken::<super::Wsgi>(text),
            "settings" => taken::<super::Module>(text),
            "user" | "group" | "operator" => taken::<super::AccountName>(text),
            "project_dir" | "static_dir" | "python" => taken::<super::AbsPath>(text),
            "bind" => taken::<Bind>(text),
            "workers" => taken::<Workers>(text),
            "health_path" => taken::<super::HealthPath>(text),
            "health_host" => taken::<super::HealthHost>(text),
            "schedule" => taken::<super::Schedule>(text),
            "host_key" => taken::<Fingerprint>(text),
            "shared_paths" => text
                .split(',')
                .filter(|part| !part.trim().is_empty())
                .try_for_each(taken::<super::SharedPath>),
            _ => Ok(()),
        }
    }
}

/// gunicorn's worker processes: 1 to 512.
struct Workers(u16);

impl FromStr for Workers {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.trim().parse() {
            Ok(workers @ 1..=512) => Ok(Self(workers)),
            _ => Err(Invalid::new(format!("{text:?} is not a number of workers")).hint("1 to 512")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(pairs: &[(&str, &str)]) -> Answers {
        let mut answers = Answers::default();
        for (name, text) in pairs {
            answers.set(name, text);
        }
        answers
    }

    #[test]
    fn a_repository_is_enough_on_a_host_that_publishes_its_key() {
        let facts = Facts {
            processors: 2,
            ports: vec![8000],
            ..Facts::default()
        };
        let app =
            answers(&[("repo", "git@github.com:acme/Todo.git")]).parse(&facts, Limits::default());
        let app = app.map_err(|problems| format!("{problems:?}"));
        assert!(app.is_ok_and(|app| app.name.as_str() == "todo"
            && app.bind.port() == Some(8001)
            && app.user.as_str() == "gunicorn"
            && app.workers == 5
            && app.project_dir.to_string() == "/var/www/projects/todo"));
    }

    #[test]
    fn everything_missing_or_wrong_is_named_at_once() {
        let problems = answers(&[
            ("repo", "git@git.corp:a/b.git"),
            ("bind", "x"),
            ("workers", "0"),
        ])
        .parse(&Facts::default(), Limits::default())
        .err()
        .unwrap_or_default();
        let named: Vec<String> = problems.iter().map(Problem::flag).collect();
        assert_eq!(named, ["--host-key", "--bind", "--workers"]);
        let problems = Answers::default()
            .parse(&Facts::default(), Limits::default())
            .err()
            .unwrap_or_default();
        assert_eq!(
            problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["--repo is missing"]
        );
    }

    #[test]
    fn a_second_app_is_offered_an_account_and_a_group_of_its_own() -> Result<(), Invalid> {
        let facts = Facts {
            others: vec![crate::app::OtherApp {
                name: "todo".parse()?,
                user: "gunicorn".parse()?,
                group: "gunicorn".parse()?,
                dirs: Vec::new(),
            }],
            ..Facts::default()
        };
        let said = answers(&[("repo", "git@github.com:acme/blog.git")]);
        for name in ["user", "group"] {
            assert_eq!(
                said.suggested(name, &facts).as_deref(),
                Some("gunicorn-blog")
            );
        }
        let said = answers(&[("repo", "git@github.com:acme/todo.git")]);
        assert_eq!(said.suggested("user", &facts).as_deref(), Some("gunicorn"));
        Ok(())
    }
}
