//! One file per verb: read the arguments, call the room that does the work, print the result.

mod access;
mod apply;
mod completions;
mod control;
mod doctor;
mod env;
mod exec;
mod init;
mod inspect;
mod key;
mod load_key;
mod man;
mod notify;
mod plan;
mod poll;
mod questions;
mod remove;
mod repository;
mod run;
mod status;
mod tunnel;
mod way;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Parser;

use crate::app::{App, AppName, Facts, Settings, for_shell, is_like, likeliest_first};
use crate::cli::{Cli, Verb};
use crate::error::{self, WithHint, usage};
use crate::exit::Exit;
use crate::host::{
    Server, View, current_identity, effective_uid, end_as, is_permission, keep_memory_private,
};
use crate::layout;
use crate::provision;
use crate::text::for_terminal;
use crate::ui;

/// Runs the command line on this machine, prints errors, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    keep_memory_private();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // The message repeats the arguments, which may hold anything.
        Err(error) if error.use_stderr() => {
            drop(write!(ui::stderr(), "{}", error.render()));
            return Exit::Usage.into();
        }
        Err(error) => error.exit(),
    };
    let exit = match run(cli, &Server::real()) {
        Ok(exit) => exit,
        Err(error) => {
            if matches!(
                error.downcast_ref::<ui::PromptError>(),
                Some(ui::PromptError::Interrupted)
            ) {
                return Exit::Interrupted.into();
            }
            // There is nowhere left to report that this cannot be written.
            drop(write!(
                ui::stderr(),
                "{}",
                shown(&error, ui::stderr_width())
            ));
            error::exit(&error)
        }
    };
    exit.into()
}

/// `error:` and what failed, each cause on a line of its own, hints last; wrapped at spaces to `width` columns.
fn shown(error: &anyhow::Error, width: Option<usize>) -> String {
    let mut lines = String::new();
    for (number, cause) in error.chain().enumerate() {
        let before = if number == 0 { "error: " } else { "  -> " };
        for (line_number, line) in cause.to_string().lines().enumerate() {
            let before = if line_number == 0 { before } else { "     " };
            lines += &folded(&format!("{before}{}", for_terminal(line)), width);
        }
    }
    lines + &hint_lines(error, width)
}

/// The hints of an error, each on a line of its own. Commands are not wrapped, so that they can be copied.
fn hint_lines(error: &anyhow::Error, width: Option<usize>) -> String {
    let line = |hint: String| {
        let width = width.filter(|_| !hint.contains("sudo "));
        folded(&format!("  hint: {}", for_terminal(&hint)), width)
    };
    error::hints(error).into_iter().map(line).collect()
}

fn folded(line: &str, width: Option<usize>) -> String {
    let lines = ui::wrap(line, width.unwrap_or(usize::MAX), 5);
    lines.join("\n") + "\n"
}

/// Dispatches to the verb.
///
/// # Errors
/// What failed; with [`Exit::Usage`] for invalid input.
fn run(cli: Cli, server: &Server) -> Result<Exit> {
    match cli.verb {
        Verb::Init(arguments) => init::run(server, &arguments),
        Verb::Poll(arguments) => poll::run(server, &arguments),
        Verb::Status(arguments) => status::run(server, &arguments),
        Verb::Rollback { app, release } => control::rollback(server, &app, release.as_deref()),
        Verb::Redeploy { app } => control::redeploy(server, &app),
        Verb::Restart { app } => control::restart(server, &app),
        Verb::Pause { app, message } => control::pause(server, &app, &message),
        Verb::Resume { app } => control::resume(server, &app),
        Verb::Retry { app } => control::retry(server, &app),
        Verb::Doctor(arguments) => doctor::run(server, &arguments),
        Verb::Remove(arguments) => remove::run(server, &arguments),
        Verb::Key(arguments) => key::run(server, &arguments),
        Verb::Completions { shell } => completions::run(shell),
        Verb::Man { dir } => man::run(server, &dir),
        Verb::Notify { app, test } => notify::run(server, &app, test),
        Verb::Metrics => status::metrics(server),
        Verb::Run { app, words } => run::run(server, &app, &words),
        Verb::Logs {
            app, deploy: true, ..
        } => run::deploy_log(server, &app),
        Verb::Logs {
            app,
            follow,
            process,
            lines,
            ..
        } => run::logs(server, &app, (process.as_deref(), follow, lines)),
        Verb::Env { app, verb } => env::run(server, &app, &verb),
        Verb::Exec {
            app,
            process,
            web,
            listen,
            workers,
            beside,
            words,
        } => {
            let web = web.as_ref().map(|wsgi| exec::Web {
                wsgi,
                listen: listen.as_deref(),
                workers,
                beside,
            });
            exec::run(server, &app, process.as_ref(), web.as_ref(), &words)
        }
        Verb::Tunnel { host, port, app } => tunnel::run(server, app.as_ref(), (&host, port)),
        Verb::LoadKey { app } => load_key::run(server, &app),
        Verb::Inspect { app, start_empty } => inspect::run(server, &app, start_empty.as_ref()),
    }
}

/// The apps that were named; all apps of this server if none was.
fn named(view: &View, apps: &[AppName]) -> Result<Vec<AppName>> {
    if !apps.is_empty() {
        return Ok(apps.to_vec());
    }
    let mut names = view.apps()?;
    names.extend(view.lost_apps()?);
    if names.is_empty() {
        return Err(usage("there is no app on this server yet").hint("sudo pullpray init"));
    }
    Ok(names)
}

/// The command that does the same as root.
fn again_as_root() -> String {
    let words: Vec<String> = (std::env::args_os().skip(1))
        .map(|word| for_shell(&word.to_string_lossy()))
        .collect();
    format!("sudo pullpray {}", words.join(" "))
}

/// The settings of an app that init has made.
fn settings(view: &View, name: &AppName) -> Result<Option<Settings>> {
    settings_at(view, &layout::settings(name))
}

fn settings_at(view: &View, path: &Path) -> Result<Option<Settings>> {
    let text = view.read_text(path).map_err(|error| {
        if is_permission(&error) {
            let who = "only the app's account, members of its group and root can read";
            return usage(format!("{who} {}", path.display())).hint(again_as_root());
        }
        error
    })?;
    let Some(text) = text else {
        return Ok(None);
    };
    let settings = Settings::parse(&text)
        .map_err(|error| usage(format!("{} cannot be used: {error}", path.display())))?;
    Ok(Some(settings))
}

/// The app as it is installed: until init moves the socket, the app answers where its socket unit listens, and not where
/// somebody has edited the settings to say.
fn load_installed(view: &View, name: &AppName) -> Result<App> {
    let mut app = load(view, name)?;
    if let Some(bind) = provision::installed_bind(view, &app)? {
        app.bind = bind;
    }
    Ok(app)
}

/// The app of that name, as its settings say.
fn load(view: &View, name: &AppName) -> Result<App> {
    let path = layout::settings(name);
    let Some(settings) = settings(view, name)? else {
        if view.lost_apps()?.contains(name) {
            return Err(usage(format!(
                "{} is gone, and {name} is on this server; init puts back what it wrote there last",
                path.display()
            ))
            .hint(format!("sudo pullpray init {name}")));
        }
        return Err(no_such_app(name, &view.apps()?));
    };
    let facts = Facts {
        program: view.own_program()?,
        systemctl: view
            .which("systemctl")
            .unwrap_or_else(|| "/usr/bin/systemctl".into()),
        machine: view.machine_id(),
        ..Facts::default()
    };
    settings.app(name, &facts).map_err(|problems| {
        let problems: Vec<String> = problems
            .iter()
            .map(|problem| problem.to_string().replacen("--", "", 1))
            .collect();
        usage(format!(
            "{} cannot be used: {}",
            path.display(),
            problems.join("; ")
        ))
    })
}

/// The error for an app that is not on this server: the nearest one is meant, or a new one.
fn no_such_app(name: &AppName, apps: &[AppName]) -> anyhow::Error {
    let names = likeliest_first(name.as_str(), apps.iter().map(AppName::as_str));
    let known = match names[..] {
        [] => "there is none yet".to_owned(),
        _ => format!("there are: {}", names.join(", ")),
    };
    let nearest = names.first().filter(|near| is_like(name.as_str(), near));
    usage(format!("there is no app {name} on this server ({known})")).hint(match nearest {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => format!("sudo pullpray init {name}"),
    })
}

/// The environment variable that passes the operator's name to the child that runs as the app's account.
const BY: &str = "PULLPRAY_BY";

/// Whether cron or a timer started this process; only they set the variable to their names.
fn by_cron() -> bool {
    std::env::var(BY).is_ok_and(|by| by == "cron" || by == "timer")
}

/// The operator: who called sudo, else the account itself.
fn by(server: &Server) -> String {
    std::env::var(BY)
        .or_else(|_| std::env::var("SUDO_USER"))
        .ok()
        .or_else(|| server.current_user().map(|user| user.name))
        .unwrap_or_else(|| "somebody".to_owned())
}

/// Whether this process is the app's own account and goes on, or, being root, had it done by a child that is:
/// with the same arguments, in a session of its own, its words passed on, its exit code given. Anybody else is
/// refused. Root never becomes the account in this process, which may have a terminal that other processes
/// of the account would get hold of.
fn as_app_account(server: &Server, app: &App) -> Result<Option<Exit>> {
    let (user, me) = (app.user.as_str(), effective_uid());
    let is_own = |identity: crate::host::Identity| identity.name == user;
    // A second name of the same account is that account too.
    if current_identity().is_some_and(is_own)
        || me != 0 && server.user(user).is_some_and(|account| account.uid == me)
    {
        // Files are the group's to write, whatever the umask was: setgid alone passes on the group. To others
        // they are closed.
        server.set_umask(0o007);
        return Ok(None);
    }
    if me != 0 {
        return Err(usage(format!("only {} and root can do this", app.user)).hint(again_as_root()));
    }
    let identity = server
        .identity(app.user.as_str())
        .with_context(|| format!("{} has no account", app.name))?;
    let words = std::env::args_os().skip(1);
    let by = by(server);
    let ended = server
        .run_self(
            words,
            Some((BY, &by)),
            Some(&identity),
            ui::stdout(),
            ui::stderr(),
        )
        .map_err(|error| {
            let program = server.own_program().unwrap_or_default();
            let program = program.display();
            anyhow!(error)
                .context(format!("failed to run {program} as {}", app.user))
                .hint(format!("sudo chmod 0755 {program}"))
        })?;
    end_as(ended)?;
    Ok(Some(Exit::of_child(ended.code())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_app_is_answered_with_the_nearest_one() -> Result<()> {
        let apps: Vec<AppName> = vec!["blog".parse()?, "todo".parse()?];
        for (name, known, hint) in [
            ("tood", "there are: todo, blog", "did you mean todo?"),
            ("wiki-pages", "there are: ", "sudo pullpray init wiki-pages"),
        ] {
            let error = no_such_app(&name.parse()?, &apps);
            assert!(error.to_string().contains(known), "{error}");
            assert_eq!(error::hints(&error), [hint]);
        }
        let error = no_such_app(&"tood".parse()?, &[]);
        assert!(error.to_string().contains("there is none yet"));
        Ok(())
    }

    #[test]
    fn errors_are_wrapped_at_spaces_and_commands_stay_whole() {
        let words = "a word and another ".repeat(6);
        let error = usage(words.trim()).hint(words.trim());
        let text = shown(&error.hint(format!("sudo {}", words.trim())), Some(80));
        let long: Vec<&str> = text.lines().filter(|line| line.len() > 80).collect();
        assert!(
            matches!(long[..], [line] if line.starts_with("  hint: sudo ")),
            "{text}"
        );
        assert_eq!(
            text.split_whitespace()
                .filter(|word| *word == "another")
                .count(),
            18
        );
        assert_eq!(shown(&usage("x y"), None), "error: x y\n");
    }
}
