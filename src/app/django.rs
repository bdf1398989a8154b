//! Which settings module the files of a Django project name.

use super::Module;

const VARIABLE: &str = "DJANGO_SETTINGS_MODULE";

/// The settings modules that production may use, from the text of wsgi.py and manage.py: those that wsgi.py names,
/// because manage.py's default is for development (`todo.settings.dev`); manage.py's if wsgi.py names none. One is the
/// answer, of several a person chooses.
#[must_use]
pub fn settings_modules(wsgi: &str, manage: &str) -> Vec<Module> {
    match named(wsgi) {
        modules if modules.is_empty() => named(manage),
        modules => modules,
    }
}

/// The modules that a file sets, each once: `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "todo.settings")` and
/// `os.environ["DJANGO_SETTINGS_MODULE"] = "todo.settings"`, also over several lines; not in comments.
fn named(source: &str) -> Vec<Module> {
    let code: Vec<&str> = source
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .collect();
    let code = code.join("\n");
    let mut found: Vec<Module> = Vec::new();
    for rest in code.split(VARIABLE).skip(1) {
        // `", "todo.settings"` or `"] = "todo.settings"`: the text between the quotes around the value.
        let mut parts = rest.splitn(4, ['"', '\'']).skip(1);
        let (Some(between), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        let sets = matches!(between.replace([' ', '\n', '\t'], "").as_str(), "," | "]=");
        if let Some(module) = value
            .parse()
            .ok()
            .filter(|module| sets && !found.contains(module))
        {
            found.push(module);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wsgi_comes_before_manage() {
        let set = |module: &str| format!("os.environ.setdefault(\"{VARIABLE}\", \"{module}\")\n");
        let (dev, production) = (set("todo.settings.dev"), set("config.settings.production"));
        let item = format!("os.environ['{VARIABLE}'] = 'todo.settings'  # \"x\", \"y\"\n");
        let lines =
            format!("os.environ.setdefault(\n    \"{VARIABLE}\",\n    \"todo.settings\",\n)\n");
        let comment = format!("# {}{production}", set("todo.old"));
        let two = format!("if X:\n    {dev}else:\n    {production}{dev}");
        let reads = format!("x = os.environ.get(\"{VARIABLE}\") or \"y.z\"\n{item}");
        let computed = format!("os.environ.setdefault(\"{VARIABLE}\", name)\nprint(\"a\")\n");
        for (wsgi, manage, expected) in [
            (
                production.as_str(),
                dev.as_str(),
                &["config.settings.production"][..],
            ),
            ("", &dev, &["todo.settings.dev"]),
            (
                "application = get_wsgi_application()",
                &dev,
                &["todo.settings.dev"],
            ),
            (&item, "", &["todo.settings"]),
            (&lines, &dev, &["todo.settings"]),
            (&comment, "", &["config.settings.production"]),
            (
                &two,
                "",
                &["todo.settings.dev", "config.settings.production"],
            ),
            (&reads, "", &["todo.settings"]),
            (&computed, &item, &["todo.settings"]),
            (&set("$(rm -rf)"), "", &[]),
            (&format!("{VARIABLE} = $(x)"), "print(1)", &[]),
        ] {
            let found = settings_modules(wsgi, manage);
            let found: Vec<&str> = found.iter().map(Module::as_str).collect();
            assert_eq!(found, expected, "{wsgi}");
        }
    }
}
