//! Switches under visitors, with an app that takes 3 s to import: no request waits for that. tests/long repeats it.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::lab::{Lab, Release, Todo, WebServer};

const STOP: &str = "/run/visitors-stop";
/// Requests a second that a machine answers beside other tests; tests/long has it for itself.
const RATE: u32 = 20;

/// What visitors saw at a constant rate.
#[derive(Debug, Clone, Copy)]
pub struct Visits {
    requests: u32,
    /// The longest request, in ms.
    pub longest: u32,
}

/// Visitors request the page this often a second through nginx while the work is done.
pub fn visited(web: &WebServer, rate: u32, work: impl FnOnce() -> Result<()>) -> Result<Visits> {
    web.run(&format!("rm -f {STOP}"))?.ok()?;
    thread::scope(|scope| {
        let visitors = scope.spawn(|| {
            let words = [STOP, &rate.to_string(), "http://127.0.0.1/"];
            web.python_for(580, "rate.py", &words)
        });
        thread::sleep(Duration::from_secs(1));
        let done = work();
        thread::sleep(Duration::from_millis(500));
        web.run(&format!("touch {STOP}"))?.ok()?;
        let output = visitors
            .join()
            .map_err(|_| anyhow!("the visitors' thread panicked"))??
            .ok()?
            .stdout
            .clone();
        done?;
        let line = output.lines().next().context("no line")?;
        let numbers: Vec<u32> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [requests, failed, longest, _median] = numbers[..] else {
            return Err(anyhow!("{output}"));
        };
        ensure!(failed == 0, "{output}");
        Ok(Visits { requests, longest })
    })
}

/// Makes the app take 3 s to import: asleep, or computing.
pub fn slow_import(todo: &Todo, how: &str) -> Result<()> {
    let code = match how {
        "asleep" => "import time\ntime.sleep(3)\n",
        _ => "import time\nend = time.process_time() + 3\nwhile time.process_time() < end: pass\n",
    };
    let wsgi = include_str!("project/todo/wsgi.py");
    let text = format!("{code}{wsgi}");
    todo.repo
        .commit("Import slowly", &[("todo/wsgi.py", &text)])?;
    todo.web.run("pullpray poll todo")?.ok()?;
    Ok(())
}

/// One instance, the service's own, of the live release.
pub fn one_instance(web: &WebServer) -> Result<()> {
    web.run("systemctl is-active gunicorn.todo.bridge.service gunicorn.todo.trial.service; systemctl is-active gunicorn.todo.service gunicorn.todo.socket gunicorn.todo.own.socket")?
        .says("inactive\ninactive\nactive\nactive\nactive")?;
    web.run("stat -c '%a %U' /run/gunicorn.todo.own.sock; ls /run/gunicorn.todo.bridge.sock 2>&1")?
        .says("600 gunicorn\n")?
        .says("No such file")?;
    web.run("readlink -f /proc/$(systemctl show -P MainPID gunicorn.todo.service)/cwd; readlink -f /var/www/projects/todo/current")?
        .ok()
        .and_then(|out| {
            let lines: Vec<&str> = out.stdout.lines().collect();
            ensure!(lines.len() == 2 && lines[0] == lines[1], "{lines:?}");
            Ok(())
        })
}

/// The longest request without a switch, and in a deployment, a rollback, a change of workers, and a restart.
pub fn switches(how: &str, rate: u32) -> Result<(Visits, Vec<(&'static str, Visits)>)> {
    let lab = Lab::new("switch")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let (repo, web) = (&todo.repo, &todo.web);
    slow_import(&todo, how)?;
    let quiet = visited(web, rate, || {
        thread::sleep(Duration::from_secs(8));
        Ok(())
    })?;
    let mut seen = Vec::new();
    repo.push("version two")?;
    for (name, command) in [
        ("deployment", "pullpray poll todo"),
        ("rollback", "pullpray rollback todo"),
        ("workers", "pullpray init todo --workers 2 --yes"),
        ("restart", "pullpray restart todo"),
    ] {
        let visits = visited(web, rate, || {
            let out = web.run(command)?.ok()?;
            ensure!(!out.stdout.contains("requests wait"), "{out:?}");
            Ok(())
        })?;
        one_instance(web)?;
        seen.push((name, visits));
    }
    web.run("[ $(pgrep -u gunicorn -fc 'gunicorn todo.wsgi') = 3 ]")?
        .ok()?;
    Ok((quiet, seen))
}

#[test]
fn no_request_waits_for_a_switch() -> Result<()> {
    let (quiet, switches) = switches("asleep", RATE)?;
    for (name, visits) in &switches {
        // Other tests keep this machine busy; an import takes 3 s.
        let most = 1500.max(3 * quiet.longest);
        ensure!(
            visits.requests > 60 && visits.longest < most,
            "{name}: {visits:?}; without one: {quiet:?}"
        );
    }
    Ok(())
}

/// Kills a deployment in its switch, once this shell condition holds; the next poll leaves one instance of the live
/// release, and no visitor notices.
pub fn killed_when(todo: &Todo, version: &str, condition: &str) -> Result<Visits> {
    let (repo, web) = (&todo.repo, &todo.web);
    repo.push(version)?;
    let visits = visited(web, RATE, || {
        web.run(&format!(
            "main=$(systemctl show -P MainPID gunicorn.todo.service); own() {{ curl -sf -o /dev/null -m 1 -H 'Host: localhost' --unix-socket /run/gunicorn.todo.$1.sock http://localhost/; }}; \
             bridge=/run/systemd/units/invocation:gunicorn.todo.bridge.service; \
             changed() {{ [ \"$(systemctl show -P MainPID gunicorn.todo.service)\" != $main ]; }}; \
             pullpray poll todo & until {condition}; do kill -0 $! || exit 9; sleep 0.02; done; pkill -9 -x pullpray; wait $!; true"
        ))?
        .ok()?;
        // The recovery, and the new commit again.
        web.run("pullpray poll todo --now; pullpray poll todo --now; pullpray poll todo")?
            .ok()?;
        Ok(())
    })?;
    one_instance(web)?;
    ensure!(web.page("/")?.shows(version), "{condition}");
    Ok(visits)
}

/// The stages of a switch.
pub const STAGES: [&str; 5] = [
    "[ -h $bridge ]",
    "[ -h $bridge ] && own bridge",
    "[ -h $bridge ] && changed",
    "changed && own own && [ -h $bridge ]",
    "changed && ! [ -h $bridge ]",
];

/// Kills a deployment at each of these moments.
pub fn killed_in(stages: &[&str]) -> Result<()> {
    let lab = Lab::new("cut-over")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    slow_import(&todo, "asleep")?;
    for (number, stage) in stages.iter().enumerate() {
        killed_when(&todo, &format!("version {number} was killed"), stage)?;
    }
    Ok(())
}

#[test]
fn a_poll_killed_in_its_switch_leaves_one_instance_and_fails_no_request() -> Result<()> {
    killed_in(&STAGES[1..3])
}

#[test]
fn a_bridge_that_crashes_again_and_again_leaves_the_socket() -> Result<()> {
    let lab = Lab::new("crashes")?;
    let Todo {
        repo,
        web,
        host: _host,
    } = Todo::live(&lab, Release::Bookworm)?;
    web.run("mkdir /run/systemd/system/gunicorn.todo.bridge.service.d && printf '[Service]\\nEnvironment=DJANGO_SETTINGS_MODULE=nothing\\n' >/run/systemd/system/gunicorn.todo.bridge.service.d/x.conf && systemctl daemon-reload; \
             for n in $(seq 12); do systemctl start gunicorn.todo.bridge.service; sleep 0.3; done; \
             systemctl is-active gunicorn.todo.socket gunicorn.todo.service")?
        .ok()?
        .says("active\nactive")?;
    ensure!(web.page("/")?.shows("version one"));
    repo.push("version two")?;
    web.run("pullpray poll todo -v")?
        .ok()?
        .says("requests wait while the service restarts: the service has drop-ins of its own")?;
    web.run("rm -r /run/systemd/system/gunicorn.todo.bridge.service.d && systemctl daemon-reload")?
        .ok()?;
    repo.push("version three")?;
    let out = web.run("pullpray poll todo -v")?;
    out.ok()?.says("starting a second instance")?;
    one_instance(&web)?;
    ensure!(web.page("/")?.shows("version three"));

    // An administrator's drop-in for the service: the commands of the report give it to the other instances.
    web.run("d=/etc/systemd/system/gunicorn.todo.service.d; mkdir $d && printf '[Service]\\nEnvironment=GREETING=hello\\n' >$d/own.conf && systemctl daemon-reload")?
        .ok()?;
    repo.push("version four")?;
    let out = web.run("pullpray poll todo")?.ok()?;
    let commands = out.stdout.split_once("to have them there too: ");
    let commands = commands.and_then(|(_, rest)| rest.lines().next());
    web.run(commands.context("no commands")?)?.ok()?;
    web.run("for unit in trial bridge; do systemctl show -P Environment gunicorn.todo.$unit | grep -q GREETING=hello || exit 9; done")?
        .ok()?;
    repo.push("version five")?;
    let out = web.run("pullpray poll todo -v")?.ok()?;
    let out = out
        .says("beside the live release")?
        .says("starting a second instance")?;
    ensure!(!out.stdout.contains("drop-ins"), "{out:?}");
    one_instance(&web)?;
    ensure!(web.page("/")?.shows("version five"));
    Ok(())
}
