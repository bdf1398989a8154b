//! The Procfile of a repository: the commands that run beside web, by name (Heroku, "The Procfile").

use std::fmt;
use std::str::FromStr;

use super::Invalid;

/// The file's name, at the top of the repository.
pub const PROCFILE: &str = "Procfile";
/// A longer one is not read.
pub const MAX_PROCFILE: u64 = 64 << 10;
/// Lines that are no processes of their own: gunicorn's service is web, and the deploy script does what release does.
const RESERVED: [&str; 2] = ["web", "release"];

/// The name of a process that runs beside web, as the Procfile has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessName(String);

impl ProcessName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProcessName {
    type Err = Invalid;

    /// Without a dot: `pullpray.APP.NAME.service` can be read in one way only.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let mut bytes = text.bytes();
        let valid = bytes.next().is_some_and(|first| first.is_ascii_lowercase())
            && bytes
                .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || b"_-".contains(&it))
            && text.len() <= 31;
        if !valid {
            return Err(Invalid::new(format!(
                "{text:?} is not a name of lower-case letters, digits, - and _, at most 31"
            )));
        }
        if RESERVED.contains(&text) {
            return Err(Invalid::new(format!(
                "{text:?} is not beside web: gunicorn's service is web, and the deploy script does what release does"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

/// When a timer's process runs: a calendar event (systemd.time(7)), which systemd-analyze checks as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar(String);

impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Calendar {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let known = |it: u8| it.is_ascii_alphanumeric() || b" *:,/.~-_+".contains(&it);
        if text.is_empty() || text.len() > 200 || !text.bytes().all(known) {
            return Err(Invalid::new(format!("{text:?} is not a calendar event"))
                .hint("as in systemd.time(7): daily, hourly, Mon *-*-* 03:00"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What a line `web` starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Web<'a> {
    /// gunicorn.
    Gunicorn {
        /// Assignments to variables.
        before: Vec<&'a str>,
        /// Its arguments, in a shell's syntax.
        arguments: &'a str,
    },
    /// Something else: the whole line.
    Other(&'a str),
}

/// Whether a word of a command names this program, with or without its directory.
fn is_program(word: &str, program: &str) -> bool {
    word.rsplit('/').next() == Some(program)
}

/// The lines of a Procfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Procfile(Vec<(String, String)>);

impl Procfile {
    /// Reads `NAME: COMMAND` lines; other lines are comments.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (name, command) = line.split_once(':')?;
            let (name, command) = (name.trim(), command.trim());
            let is_name = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-';
            let valid = !name.is_empty() && name.chars().all(is_name) && !command.is_empty();
            valid.then(|| (name.to_owned(), command.to_owned()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// The command of a process.
    #[must_use]
    pub fn command(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(it, _)| it == name);
        found.map(|(_, command)| command.as_str())
    }

    /// What its line `web` starts; `None` without one, and for a line that starts gunicorn in another way than one program
    /// with assignments before it: by a wrapper, or after a shell's `&&`.
    #[must_use]
    pub fn web(&self) -> Option<Web<'_>> {
        let line = self.command("web")?;
        let other = || (!line.contains("gunicorn")).then_some(Web::Other(line));
        if line.contains([';', '&', '|', '`', '#']) {
            return other();
        }
        let mut before = Vec::new();
        let mut rest = line;
        loop {
            let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let after = after.trim_start();
            let python = is_program(word, "python") || is_program(word, "python3");
            let module = after.strip_prefix("-m gunicorn").filter(|_| python);
            if let Some(arguments) = module.filter(|it| it.is_empty() || it.starts_with(' ')) {
                let arguments = arguments.trim_start();
                return Some(Web::Gunicorn { before, arguments });
            }
            match word {
                "exec" | "env" => {}
                _ if word.contains('=') && !word.contains(['"', '\'']) => before.push(word),
                _ if is_program(word, "gunicorn") => {
                    let arguments = after;
                    return Some(Web::Gunicorn { before, arguments });
                }
                _ => return other(),
            }
            rest = after;
        }
    }

    /// The names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The names that can run beside web.
    pub fn beside_web(&self) -> impl Iterator<Item = &str> {
        self.names().filter(|name| !RESERVED.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_commands() {
        let text = "# comment: no\nweb: gunicorn todo.wsgi\r\nworker : celery -A todo worker -l info\n\nbeat:\n: x\n";
        let file = Procfile::parse(text);
        assert_eq!(file.names().collect::<Vec<_>>(), ["web", "worker"]);
        assert_eq!(
            file.command("worker"),
            Some("celery -A todo worker -l info")
        );
        assert_eq!(file.command("beat"), None);
        assert_eq!(file.beside_web().collect::<Vec<_>>(), ["worker"]);
    }

    #[test]
    fn web_is_gunicorn_or_something_else() {
        let gunicorn = |before: &[&'static str], arguments| {
            let before = before.to_vec();
            Some(Web::Gunicorn { before, arguments })
        };
        for (line, expected) in [
            (
                "gunicorn x.wsgi --log-file -",
                gunicorn(&[], "x.wsgi --log-file -"),
            ),
            (
                "exec env A=1 bin/gunicorn -k x y:z",
                gunicorn(&["A=1"], "-k x y:z"),
            ),
            ("python3 -m gunicorn x.wsgi", gunicorn(&[], "x.wsgi")),
            // In a way that is not understood: not used, and nothing else either.
            ("python -m gunicorn.other", None),
            ("python manage.py migrate && gunicorn x.wsgi", None),
            ("gunicorn x.wsgi | tee log", None),
            ("poetry run gunicorn x.wsgi", None),
            ("A=\"b c\" gunicorn x.wsgi", None),
            ("daphne x.asgi:app", Some(Web::Other("daphne x.asgi:app"))),
            (
                "python manage.py runserver",
                Some(Web::Other("python manage.py runserver")),
            ),
            ("A=1", Some(Web::Other("A=1"))),
        ] {
            let file = Procfile::parse(&format!("web: {line}\n"));
            assert_eq!(file.web(), expected, "{line}");
        }
        assert_eq!(Procfile::parse("worker: x\n").web(), None);
    }

    #[test]
    fn names_fit_into_a_unit_s() {
        for (text, valid) in [
            ("worker", true),
            (" celery-2_x ", true),
            ("web", false),
            ("release", false),
            ("a.b", false),
            ("Worker", false),
            ("../x", false),
            ("", false),
            ("2nd", false),
        ] {
            assert_eq!(text.parse::<ProcessName>().is_ok(), valid, "{text}");
        }
    }
}
