//! Which packaging file of a project its environment is installed from.
//!
//! The system's packages serve only projects without any: they would silently replace pinned versions.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::error::WithHint;
use crate::host::Server;

/// A lock file that one program reads.
pub(super) struct Lock {
    pub(super) file: &'static str,
    tool: &'static str,
    /// Writes requirements.txt, which pip reads.
    export: &'static str,
    /// Decides the content too.
    pub(super) beside: &'static str,
}

/// The lock files, in this order.
pub(super) const LOCKS: [Lock; 5] = [
    Lock {
        file: "uv.lock",
        tool: "uv",
        export: "uv export --frozen --no-dev --no-emit-project -o requirements.txt",
        beside: "pyproject.toml",
    },
    Lock {
        file: "pylock.toml",
        tool: "uv",
        export: "uv export --frozen --no-dev --no-emit-project -o requirements.txt",
        beside: "",
    },
    Lock {
        file: "poetry.lock",
        tool: "poetry",
        export: "poetry export --only main -f requirements.txt -o requirements.txt",
        beside: "pyproject.toml",
    },
    Lock {
        file: "pdm.lock",
        tool: "pdm",
        export: "pdm export --prod -f requirements -o requirements.txt",
        beside: "pyproject.toml",
    },
    Lock {
        file: "Pipfile.lock",
        tool: "pipenv",
        export: "pipenv requirements >requirements.txt",
        beside: "Pipfile",
    },
];
/// Files whose presence says that a project names its dependencies in a way that no rule above can install, and the
/// command that makes it one that can.
const UNLOCKED: [(&str, &str, &str); 6] = [
    (
        "requirements/base.txt",
        "",
        "echo '-r requirements/base.txt' >requirements.txt",
    ),
    ("Pipfile", "", "pipenv lock"),
    ("setup.py", "", "pip-compile -o requirements.txt setup.py"),
    (
        "setup.cfg",
        "install_requires",
        "pip-compile -o requirements.txt setup.cfg",
    ),
    ("requirements.in", "", "pip-compile requirements.in"),
    ("environment.yml", "", "pip freeze >requirements.txt"),
];

/// What pip reads: the usual file, or what cookiecutter-django and its like install in production.
pub(super) const REQUIREMENTS: [&str; 3] = [
    "requirements.txt",
    "requirements/production.txt",
    "requirements/prod.txt",
];

/// The content of a file of the release; `None` if there is none.
type Read<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u8>>>;

/// The dependency file to use: a lock whose program is installed, requirements, pyproject; empty if the project has no
/// packaging file. An error with a hint if it has one that cannot be used here.
pub(super) fn choose(server: &Server, read: Read<'_>) -> Result<(&'static str, Option<PathBuf>)> {
    let mut requirements = None;
    for file in REQUIREMENTS {
        if requirements.is_none() && read(file)?.is_some() {
            requirements = Some(file);
        }
    }
    let mut missing = None;
    for lock in &LOCKS {
        if requirements.is_some() && lock.tool != "uv" || read(lock.file)?.is_none() {
            continue;
        }
        if let Some(tool) = server.which(lock.tool) {
            return Ok((lock.file, Some(tool)));
        }
        missing.get_or_insert(lock);
    }
    if let Some(file) = requirements {
        return Ok((file, None));
    }
    if let Some(Lock {
        file, tool, export, ..
    }) = missing
    {
        let why = anyhow!(
            "{file} needs {tool}, which is not installed on this server in any of: {}",
            crate::host::PATH
        );
        return Err(why.hint(format!(
            "install it there, or commit requirements.txt, written by: {export}"
        )));
    }
    let pyproject = read("pyproject.toml")?.unwrap_or_default();
    match declared(&pyproject) {
        Declared::Listed => return Ok(("pyproject.toml", None)),
        Declared::Otherwise(how, export) => {
            let why = anyhow!(
                "pyproject.toml names dependencies under {how}, which pullpray does not install"
            );
            return Err(why.hint(format!("commit a lock file: {export}")));
        }
        Declared::Nothing => {}
    }
    for (file, word, export) in UNLOCKED {
        let content = read(file)?.filter(|content| String::from_utf8_lossy(content).contains(word));
        if content.is_some() {
            let why = anyhow!(
                "the project names its dependencies in {file} only, which pullpray does not install"
            );
            return Err(why.hint(format!("commit the file that this writes: {export}")));
        }
    }
    Ok(("", None))
}

/// Where a pyproject.toml names dependencies.
#[derive(Debug, PartialEq, Eq)]
enum Declared {
    /// It only configures tools.
    Nothing,
    /// In `project.dependencies`.
    Listed,
    /// Elsewhere: the key, and the command that locks them.
    Otherwise(&'static str, &'static str),
}

fn declared(bytes: &[u8]) -> Declared {
    let Ok(table) = toml::from_str::<toml::Table>(&String::from_utf8_lossy(bytes)) else {
        return Declared::Nothing;
    };
    let get = |keys: &[&str]| {
        let mut found = table.get(*keys.first()?)?;
        for key in keys.get(1..)? {
            found = found.get(key)?;
        }
        Some(found)
    };
    let has = |value: Option<&toml::Value>, wanted: &dyn Fn(&str) -> bool| {
        let list = value.and_then(toml::Value::as_array);
        list.is_some_and(|list| list.iter().filter_map(toml::Value::as_str).any(wanted))
    };
    if has(get(&["project", "dependencies"]), &|_| true) {
        return Declared::Listed;
    }
    let compile = "uv pip compile pyproject.toml -o requirements.txt";
    if has(get(&["project", "dynamic"]), &|it| it == "dependencies") {
        return Declared::Otherwise("dynamic", compile);
    }
    let poetry = get(&["tool", "poetry", "dependencies"]).and_then(toml::Value::as_table);
    if poetry.is_some_and(|table| table.keys().any(|name| name != "python")) {
        return Declared::Otherwise("tool.poetry.dependencies", "poetry lock");
    }
    // Groups of test and lint tools do not serve the app.
    let django = |it: &str| it.to_ascii_lowercase().starts_with("django");
    let groups = get(&["dependency-groups"]).and_then(toml::Value::as_table);
    if groups.is_some_and(|groups| groups.values().any(|group| has(Some(group), &django))) {
        return Declared::Otherwise("dependency-groups", "uv lock");
    }
    Declared::Nothing
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::host::testing::TestServer;

    #[test]
    fn tools_alone_are_not_dependencies() {
        for (text, expected) in [
            (
                "[project]\nname = \"x\"\ndependencies = [\"django\"]\n",
                Declared::Listed,
            ),
            ("[tool.ruff]\nline-length = 100\n", Declared::Nothing),
            ("[project]\nname = \"x\"\n", Declared::Nothing),
            ("nonsense", Declared::Nothing),
            ("[dependency-groups]\ndev = [\"ruff\"]\n", Declared::Nothing),
        ] {
            assert_eq!(declared(text.as_bytes()), expected, "{text}");
        }
        for (text, key) in [
            (
                "[project]\ndynamic = [\"version\", \"dependencies\"]\n",
                "dynamic",
            ),
            (
                "[tool.poetry.dependencies]\npython = \"^3.11\"\nDjango = \"5.2\"\n",
                "tool.poetry.dependencies",
            ),
            (
                "[dependency-groups]\nprod = [{include-group = \"x\"}, \"Django>=5\"]\n",
                "dependency-groups",
            ),
        ] {
            let found = declared(text.as_bytes());
            assert!(
                matches!(found, Declared::Otherwise(is, _) if is == key),
                "{text}"
            );
        }
    }

    #[test]
    fn a_packaging_file_is_used_or_refused_by_name() -> Result<()> {
        let listed = "[project]\ndependencies = [\"django\"]\n";
        for (files, tools, expected) in [
            (&[("manage.py", "")][..], "", Ok("")),
            (&[("setup.cfg", "[flake8]\n")], "", Ok("")),
            (
                &[("uv.lock", ""), ("pyproject.toml", listed)],
                "uv",
                Ok("uv.lock"),
            ),
            (
                &[("uv.lock", ""), ("requirements.txt", "")],
                "",
                Ok("requirements.txt"),
            ),
            (
                &[("uv.lock", ""), ("pyproject.toml", listed)],
                "",
                Err("uv.lock needs uv"),
            ),
            (&[("pylock.toml", "")], "uv", Ok("pylock.toml")),
            (&[("pylock.toml", "")], "", Err("pylock.toml needs uv")),
            (
                &[("poetry.lock", ""), ("requirements.txt", "")],
                "poetry",
                Ok("requirements.txt"),
            ),
            (
                &[("poetry.lock", ""), ("pyproject.toml", listed)],
                "poetry",
                Ok("poetry.lock"),
            ),
            (
                &[("poetry.lock", "")],
                "uv",
                Err("poetry.lock needs poetry"),
            ),
            (&[("pdm.lock", "")], "", Err("pdm.lock needs pdm")),
            (
                &[("Pipfile", ""), ("Pipfile.lock", "")],
                "",
                Err("Pipfile.lock needs pipenv"),
            ),
            (&[("Pipfile", "")], "pipenv", Err("in Pipfile only")),
            (
                &[("requirements/base.txt", ""), ("requirements/prod.txt", "")],
                "uv",
                Ok("requirements/prod.txt"),
            ),
            (
                &[("requirements/base.txt", "")],
                "uv",
                Err("in requirements/base.txt only"),
            ),
            (&[("setup.py", "")], "uv", Err("in setup.py only")),
            (
                &[("setup.cfg", "[options]\ninstall_requires =\n")],
                "",
                Err("in setup.cfg only"),
            ),
            (
                &[("pyproject.toml", "[project]\ndynamic = [\"dependencies\"]")],
                "uv",
                Err("under dynamic"),
            ),
        ] {
            let test = TestServer::new()?;
            if !tools.is_empty() {
                test.put_program(Path::new("/usr/local/bin").join(tools), "")?;
            }
            let read = |name: &str| {
                let file = files.iter().find(|(file, _)| *file == name);
                Ok(file.map(|(_, text)| text.as_bytes().to_vec()))
            };
            match (choose(&test.server, &read), expected) {
                (Ok((file, tool)), Ok(expected)) => {
                    assert_eq!(file, expected);
                    assert_eq!(tool.is_some(), file.contains("lock"), "{file}");
                }
                (Err(error), Err(words)) => {
                    let said = crate::error::in_one_line(&error);
                    assert!(said.contains(words) && said.contains("commit"), "{said}");
                }
                (is, _) => panic!("{files:?}: {is:?}"),
            }
        }
        Ok(())
    }
}
