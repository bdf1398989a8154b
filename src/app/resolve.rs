//! Resolves answers to an [`App`]: parses each, fills in defaults from the facts, and reports all problems
//! at once.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::{
    ANSWERS, Answers, App, AppName, Bind, Facts, Fingerprint, Invalid, Limits, ProcessName,
    RepoUrl, Schedule, Track,
};

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The answer's name, as in [`super::ANSWERS`].
    pub name: &'static str,
    /// Why it was rejected; `None` if it is missing.
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

/// Parses answers and collects all problems, to report them at once.
struct Reader<'a> {
    answers: &'a Answers,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// The answer or its default, parsed; an answer that is missing and has no default is a problem.
    fn read<T: FromStr<Err = Invalid>>(
        &mut self,
        name: &'static str,
        default: Option<String>,
    ) -> Option<T> {
        let given = self
            .answers
            .get(name)
            .map(str::to_owned)
            .filter(|text| !text.trim().is_empty());
        let Some(text) = given.or(default) else {
            self.problems.push(Problem {
                name,
                invalid: None,
            });
            return None;
        };
        self.parsed(name, &text)
    }

    /// The answer, parsed; `None` if it is missing or empty.
    fn optional<T: FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Option<T> {
        let text = self
            .answers
            .get(name)
            .filter(|text| !text.trim().is_empty())?
            .to_owned();
        self.parsed(name, &text)
    }

    /// The branch, tag pattern or commit: at most one of the three may be given.
    fn track(&mut self, default: Option<String>) -> Option<Track> {
        let given: Vec<&'static str> = self.answers.tracks().collect();
        if let [first, second, ..] = given[..] {
            self.problems.push(Problem {
                name: second,
                invalid: Some(
                    Invalid::new(format!("and {first} exclude each other"))
                        .hint("give only one of branch, tag and commit"),
                ),
            });
            return None;
        }
        match given.first() {
            Some(&"tag") => self.read("tag", None).map(Track::Tag),
            Some(&"commit") => self.read("commit", None).map(Track::Commit),
            _ => self.read("branch", default).map(Track::Branch),
        }
    }

    /// The parts of a list, parsed.
    fn list<T: FromStr<Err = Invalid>>(&mut self, name: &'static str) -> Vec<T> {
        let text = self.answers.get(name).unwrap_or_default().to_owned();
        let parts = text.split(',').filter(|part| !part.trim().is_empty());
        parts.filter_map(|part| self.parsed(name, part)).collect()
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
    /// Resolves the answers to an app, with defaults computed from the facts.
    ///
    /// # Errors
    /// All problems: missing and rejected answers.
    pub fn parse(&self, facts: &Facts, limits: Limits) -> Result<App, Vec<Problem>> {
        let mut reader = Reader {
            answers: self,
            problems: Vec::new(),
        };
        let repo: Option<RepoUrl> = reader.read("repo", None);
        // Without a repository the name has no default; report only the missing repository.
        let name = match (&repo, self.get("app")) {
            (None, None) => None,
            _ => reader.read("app", self.suggested("app", facts)),
        };
        let track = reader.track(self.suggested("branch", facts));
        let host_key: Option<Fingerprint> = match &repo {
            Some(_) => reader.read("host_key", self.suggested("host_key", facts)),
            None => reader.optional("host_key"),
        };
        let subdir = reader.optional("subdir");
        let wsgi = reader.optional("wsgi");
        let settings = reader.optional("settings");
        let operator = reader.optional("operator");
        let proxy = reader.optional("proxy");
        let ssh_host = reader.optional("ssh_host");
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
        let schedule: Option<Schedule> = reader.read("schedule", self.suggested("schedule", facts));
        let spread = |(schedule, name): (Schedule, &AppName)| {
            let schedule = if facts.no_cron {
                schedule.without_cron()
            } else {
                schedule
            };
            schedule.spread(&facts.machine, name.as_str())
        };
        let schedule = schedule.zip(name.as_ref()).map(spread);
        let python = reader.read("python", self.suggested("python", facts));
        let shared_paths = reader.list("shared_paths");
        let notify = reader.list("notify");
        let mut processes: Vec<ProcessName> = reader.list("processes");
        let mut seen = BTreeSet::new();
        processes.retain(|name| seen.insert(name.clone()));
        // It has one unit, and runs as a timer says.
        processes.retain(|name| !limits.timers.contains_key(name));
        let problems = reader.problems;
        let complete = || {
            Some(App {
                name: name?,
                repo: repo?,
                track: track?,
                subdir,
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
                proxy,
                ssh_host,
                python: python?,
                shared_paths,
                processes,
                notify,
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

    /// The default of an answer, computed from the other answers and the facts.
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
            // Apps that share a group share all that it can read and write: code, secrets, database.
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
                .and_then(|repo| {
                    let published = repo.published_host_key(&facts.host_key_algorithms);
                    published.or_else(|| facts.host_key(&repo).cloned())
                })
                .map(|key| key.to_string()),
            "python" => Some("/usr/bin/python3".to_owned()),
            "notify" => facts.notify.clone(),
            _ => None,
        }
    }

    /// Validates one answer by itself, for the wizard.
    ///
    /// # Errors
    /// Why it is rejected.
    pub fn check_one(name: &str, text: &str) -> Result<(), Invalid> {
        match ANSWERS.iter().find(|answer| answer.name == name) {
            Some(answer) if !text.trim().is_empty() => (answer.check)(text),
            Some(answer) if !answer.optional => Err(Invalid::new("an answer is required")),
            _ => Ok(()),
        }
    }
}

/// The number of gunicorn's worker processes: 1 to 512.
pub(super) struct Workers(u16);

impl FromStr for Workers {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.trim().parse() {
            Ok(workers @ 1..=512) => Ok(Self(workers)),
            _ => Err(
                Invalid::new(format!("{text:?} is not a valid number of workers")).hint("1 to 512"),
            ),
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
    fn only_the_repository_is_required_on_a_host_with_a_published_key() {
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
    fn reports_all_missing_and_invalid_answers_at_once() {
        let problems = answers(&[
            ("repo", "git@git.corp:a/b.git"),
            ("bind", "x"),
            ("workers", "0"),
        ])
        .parse(&Facts::default(), Limits::default())
        .err()
        .unwrap_or_default();
        let flags: Vec<String> = problems.iter().map(Problem::flag).collect();
        assert_eq!(flags, ["--host-key", "--bind", "--workers"]);
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
    fn the_host_key_of_another_app_on_the_same_host_is_the_default() -> Result<(), Invalid> {
        let key = |end: char| format!("SHA256:{}{end}", "A".repeat(42));
        let other = |name: &str, host: &str, end| -> Result<_, Invalid> {
            Ok(crate::app::OtherApp {
                name: name.parse()?,
                user: "gunicorn".parse()?,
                group: "gunicorn".parse()?,
                dirs: Vec::new(),
                host_key: Some((host.to_owned(), key(end).parse()?)),
            })
        };
        let mut facts = Facts {
            others: vec![
                other("a", "git.corp", 'A')?,
                other("b", "[git.corp]:2222", 'B')?,
            ],
            ..Facts::default()
        };
        let suggested =
            |facts: &Facts, repo: &str| answers(&[("repo", repo)]).suggested("host_key", facts);
        for (repo, expected) in [
            ("git@git.corp:acme/x.git", Some(key('A'))),
            ("ssh://git@git.corp:2222/acme/x.git", Some(key('B'))),
            ("git@git2.corp:acme/x.git", None),
        ] {
            assert_eq!(suggested(&facts, repo), expected, "{repo}");
        }
        facts.others.push(other("c", "git.corp", 'C')?);
        assert_eq!(suggested(&facts, "git@git.corp:acme/x.git"), None);
        Ok(())
    }

    #[test]
    fn errors_about_a_group_speak_of_groups() {
        for text in ["Web Team", "root"] {
            let why = Answers::check_one("group", text).map_err(|e| e.to_string());
            assert!(why.is_err_and(|why| why.contains("group") && !why.contains("account")));
        }
    }

    #[test]
    fn a_second_app_defaults_to_its_own_account_and_group() -> Result<(), Invalid> {
        let facts = Facts {
            others: vec![crate::app::OtherApp {
                name: "todo".parse()?,
                user: "gunicorn".parse()?,
                group: "gunicorn".parse()?,
                dirs: Vec::new(),
                host_key: None,
            }],
            ..Facts::default()
        };
        let given = answers(&[("repo", "git@github.com:acme/blog.git")]);
        for name in ["user", "group"] {
            assert_eq!(
                given.suggested(name, &facts).as_deref(),
                Some("gunicorn-blog")
            );
        }
        let given = answers(&[("repo", "git@github.com:acme/todo.git")]);
        assert_eq!(given.suggested("user", &facts).as_deref(), Some("gunicorn"));
        Ok(())
    }
}
