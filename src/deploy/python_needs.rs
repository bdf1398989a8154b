//! Which Python a project needs, by what it says itself and by the Django that it asks for, before anything is built.

use std::str::FromStr;

use pep440_rs::{Operator, Version, VersionSpecifiers};

/// Django's oldest Python, newest first: "What Python version can I use with Django?" in its FAQ.
const DJANGO: [(u64, u64, &str); 4] = [
    (6, 0, ">=3.12"),
    (5, 0, ">=3.10"),
    (4, 0, ">=3.8"),
    (3, 0, ">=3.6"),
];

/// Where a project says it: the file, and the path to the value in it. Lock files of other tools repeat pyproject.toml's.
const SAID: [(&str, &[&str]); 5] = [
    ("pyproject.toml", &["project", "requires-python"]),
    (
        "pyproject.toml",
        &["tool", "poetry", "dependencies", "python"],
    ),
    ("uv.lock", &["requires-python"]),
    ("pylock.toml", &["requires-python"]),
    ("poetry.lock", &["metadata", "python-versions"]),
];

/// A version that Python has to have, and who says so.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// Version specifiers, as PEP 440 has them.
    pub(super) specifiers: String,
    /// Where that stands.
    pub(super) said_by: String,
}

/// What an interpreter of this version, such as 3.11.2, does not meet. `read` returns a file's text, empty if there is none.
/// What cannot be understood is no obstacle: the installation has the last word.
pub(super) fn unmet(
    python: &str,
    read: &dyn Fn(&str) -> String,
    requirements: &str,
) -> Option<Needs> {
    let version = Version::from_str(python.split(' ').next_back()?).ok()?;
    let refuses = |specifiers: &str| {
        let parsed = VersionSpecifiers::from_str(&pep440(specifiers));
        parsed.is_ok_and(|specifiers| !specifiers.contains(&version))
    };
    let mut text = ("", String::new());
    for (file, path) in SAID {
        if text.0 != file {
            text = (file, read(file));
        }
        let Ok(table) = text.1.parse::<toml::Table>() else {
            continue;
        };
        let value = path.split_last().and_then(|(last, tables)| {
            let inner = |table: &toml::Table, key: &&str| table.get(*key)?.as_table().cloned();
            let table = tables
                .iter()
                .try_fold(table, |table, key| inner(&table, key))?;
            Some(table.get(*last)?.as_str()?.to_owned())
        });
        if let Some(specifiers) = value.filter(|value| refuses(value)) {
            let said_by = format!("{} in {file}", path.last().copied().unwrap_or_default());
            return Some(Needs {
                specifiers,
                said_by,
            });
        }
    }
    let text = read(requirements);
    let (major, minor) = text.lines().find_map(django)?;
    let floor = DJANGO.iter().find(|row| (row.0, row.1) <= (major, minor))?;
    refuses(floor.2).then(|| Needs {
        specifiers: floor.2.to_owned(),
        said_by: format!("Django {major}.{minor} in {requirements}"),
    })
}

/// poetry's caret as a range: `^3.12` allows what has the same first number.
fn pep440(specifiers: &str) -> String {
    match specifiers.strip_prefix('^') {
        Some(from) if !from.contains(',') => {
            let major: u64 = (from.split('.').next())
                .and_then(|it| it.parse().ok())
                .unwrap_or_default();
            format!(">={from},<{}", major + 1)
        }
        _ => specifiers.to_owned(),
    }
}

/// The lowest Django that a line of requirements.txt asks for.
fn django(line: &str) -> Option<(u64, u64)> {
    // One with an environment marker may not be for this Python.
    let line = line.split('#').next()?.trim();
    if line.contains(';') {
        return None;
    }
    let at = line.find(['=', '~', '>'])?;
    let (name, specifiers) = line.split_at(at);
    let name = name.split('[').next()?.trim();
    if !name.eq_ignore_ascii_case("django") {
        return None;
    }
    let specifiers = specifiers.split(" --").next()?;
    let lowest = VersionSpecifiers::from_str(specifiers).ok()?;
    let lowest = (lowest.iter())
        .filter(|it| !matches!(it.operator(), Operator::LessThan | Operator::LessThanEqual))
        .filter(|it| !matches!(it.operator(), Operator::NotEqual | Operator::NotEqualStar))
        .map(|it| it.version().release().to_vec())
        .max()?;
    Some((*lowest.first()?, lowest.get(1).copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmet_by(python: &str, files: &[(&str, &str)]) -> Option<String> {
        let read = |name: &str| {
            let found = files.iter().find(|(file, _)| *file == name);
            found.map_or_else(String::new, |(_, text)| (*text).to_owned())
        };
        let needs = unmet(python, &read, "requirements.txt")?;
        Some(format!("{} ({})", needs.specifiers, needs.said_by))
    }

    #[test]
    fn what_a_project_says_is_compared_with_the_interpreter() {
        let project = "[project]\nname = \"x\"\nrequires-python = \">=3.12,<4\"\n";
        let poetry = "[tool.poetry.dependencies]\npython = \"^3.12\"\n";
        for (python, files, expected) in [
            (
                "3.11.2",
                vec![("pyproject.toml", project)],
                Some(">=3.12,<4 (requires-python in pyproject.toml)"),
            ),
            ("3.12.0", vec![("pyproject.toml", project)], None),
            (
                "3.11.2",
                vec![("pyproject.toml", poetry)],
                Some("^3.12 (python in pyproject.toml)"),
            ),
            (
                "4.0.0",
                vec![("pyproject.toml", poetry)],
                Some("^3.12 (python in pyproject.toml)"),
            ),
            ("3.13.5", vec![("pyproject.toml", poetry)], None),
            (
                "3.11.2",
                vec![("uv.lock", "version = 1\nrequires-python = \"==3.13.*\"\n")],
                Some("==3.13.* (requires-python in uv.lock)"),
            ),
            (
                "3.11.2",
                vec![("poetry.lock", "[metadata]\npython-versions = \">=3.11\"\n")],
                None,
            ),
            (
                "3.11.2",
                vec![("requirements.txt", "# x\nDjango[argon2] ~= 6.0 # newest\n")],
                Some(">=3.12 (Django 6.0 in requirements.txt)"),
            ),
            (
                "3.11.2",
                vec![("requirements.txt", "django==5.2.19 --hash=sha256:00\n")],
                None,
            ),
            (
                "3.9.2",
                vec![("requirements.txt", "django >=5.2, <6\n")],
                Some(">=3.10 (Django 5.2 in requirements.txt)"),
            ),
            (
                "3.11.2",
                vec![(
                    "requirements.txt",
                    "django<7\ndjango-filter==26.2\ngunicorn\n",
                )],
                None,
            ),
            (
                "PyPy 3.10.14",
                vec![("pyproject.toml", project)],
                Some(">=3.12,<4 (requires-python in pyproject.toml)"),
            ),
            (
                "3.11.2",
                vec![(
                    "pyproject.toml",
                    "[project]\nrequires-python = \"recent\"\n",
                )],
                None,
            ),
            ("3.11.2", vec![("pyproject.toml", "not toml")], None),
            (
                "3.11.2",
                vec![(
                    "requirements.txt",
                    "django==6.0; python_version >= '3.12'\n",
                )],
                None,
            ),
        ] {
            assert_eq!(
                unmet_by(python, &files).as_deref(),
                expected,
                "{python} {files:?}"
            );
        }
    }
}
