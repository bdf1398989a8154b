//! Secrets that systemd hands to the app's units.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Todo};

const PROCFILE: &str = "worker: sh -c 'cat \"$CREDENTIALS_DIRECTORY/sealed\" >\"$PULLPRAY_SHARED/seen\"; exec sleep 1d'\n";
const WSGI: &str = include_str!("project/todo/wsgi.py");
const SECRET: &str = "as\"good'as $HOME\\n";

#[test]
fn credentials_reach_the_units_and_nothing_else() -> Result<()> {
    let lab = Lab::new("creds")?;
    let Todo { repo, web, .. } = &Todo::live(&lab, Release::Bookworm)?;
    let shows = format!(
        "import os\n{WSGI}django = application\n\n\ndef application(environ, start_response):\n    \
        if environ['PATH_INFO'] != '/secret':\n        return django(environ, start_response)\n    \
        start_response('200 OK', [('Content-Type', 'text/plain')])\n    \
        return [open(os.environ['CREDENTIALS_DIRECTORY'] + '/secret', 'rb').read()]\n"
    );
    repo.commit(
        "Show it",
        &[("todo/wsgi.py", &shows), ("Procfile", PROCFILE)],
    )?;
    let secret = SECRET.trim_end();
    web.run(
        "sed -i '/credentials/d' /etc/pullpray/todo.toml; cat >>/etc/pullpray/todo.toml <<'END'\n\
        credentials = { secret = \"/etc/credstore/todo.secret\" }\n\
        credentials_encrypted = { sealed = \"/etc/credstore.encrypted/todo.sealed\" }\nEND",
    )?
    .ok()?;
    web.run("pullpray init todo --yes")?
        .exits(1)?
        .says("the credential sealed, /etc/credstore.encrypted/todo.sealed, does not exist")?;
    web.run(&format!(
        "set -e; mkdir -p -m 700 /etc/credstore /etc/credstore.encrypted; printf '%s' '{}' | install -m 600 /dev/stdin /etc/credstore/todo.secret; \
        printf sealed-value | systemd-creds encrypt --name=sealed - /etc/credstore.encrypted/todo.sealed; ! grep -q sealed-value /etc/credstore.encrypted/todo.sealed",
        secret.replace('\'', "'\\''")
    ))?
    .ok()?;
    web.run("chmod 644 /etc/credstore/todo.secret; pullpray init todo --yes")?
        .exits(1)?
        .says("others than root can read the credential secret")?
        .says("sudo chmod 600 /etc/credstore/todo.secret")?;
    web.run("chmod 600 /etc/credstore/todo.secret; pullpray init todo --yes --processes worker; pullpray poll todo")?
        .says("\"Show it\" live after")?;
    web.run("pullpray doctor todo --fix --yes --strict")?.ok()?;
    let page = web.page("/secret")?;
    ensure!(page.body == secret, "{page:?}");
    web.run("for n in $(seq 50); do grep -qx sealed-value /var/www/projects/todo/shared/seen && exit; sleep 0.1; done; exit 9")?
        .ok()?;
    let run = web.run("pullpray run todo -- sh -c 'cat $CREDENTIALS_DIRECTORY/secret $CREDENTIALS_DIRECTORY/sealed'")?;
    ensure!(run.ok()?.stdout == format!("{secret}sealed-value"));
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    ensure!(web.page("/secret")?.body == secret);
    // Nobody else: not the file, not what pullpray prints and records.
    web.run_as("gunicorn", "cat /etc/credstore/todo.secret")?
        .exits(1)?;
    web.run("{ pullpray status todo; pullpray doctor todo; pullpray logs todo --lines 500; cat /etc/pullpray/todo.toml /var/lib/pullpray/todo/ledger.json /var/lib/pullpray/todo/log/*; ps -eo args; } | grep -c -e 'sealed-[v]alue' -e 'good[^.^]as'")?
        .exits(1)?;
    Ok(())
}
