//! An ordinary Django project works inside the sandbox: sqlite, PostgreSQL over its socket with peer
//! authentication, a socket open to a group, outgoing HTTPS.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Todo, WebServer};

const POSTGRESQL: &str =
    "\nDATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'todo'}}\n";
/// Creates a CA and a certificate for githost.
pub const CERTIFICATES: &str = "cd /root && openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=CA of the tests' \
    -addext keyUsage=critical,keyCertSign -keyout ca.key -out ca.pem && \
    openssl req -newkey rsa:2048 -nodes -subj /CN=githost -keyout server.key -out server.csr && \
    printf 'subjectAltName=DNS:githost\\nauthorityKeyIdentifier=keyid\\n' >ext && \
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile ext -out server.pem";

fn reached(web: &WebServer, what: &[&str]) -> Result<Vec<String>> {
    let page = web.page(&format!("/?try={}", what.join("&try=")))?;
    ensure!(page.status == 200, "{page:#?}");
    Ok(page.body.lines().skip(1).map(str::to_owned).collect())
}

#[test]
fn databases_sockets_and_https_work_in_the_sandbox() -> Result<()> {
    work_in_the_sandbox(Release::Bookworm)
}

/// Tests all of them on one server.
pub fn work_in_the_sandbox(release: Release) -> Result<()> {
    let lab = Lab::new("reach")?;
    let todo = Todo::with_services(&lab, release)?;
    todo.make_live()?;
    let Todo { host, repo, web } = &todo;
    // A service's group, as with redis: membership works in the sandbox, too.
    web.run("groupadd --system cache && usermod --append --groups cache gunicorn")?
        .ok()?;
    web.write("/usr/local/lib/cache.py", include_str!("inside/cache.py"))?;
    web.run("systemd-run --quiet --unit=cache python3 /usr/local/lib/cache.py")?
        .ok()?;
    host.run(CERTIFICATES)?.ok()?;
    host.write("/root/https.py", include_str!("inside/https.py"))?;
    host.run("systemd-run --quiet --unit=https python3 /root/https.py; for n in $(seq 100); do ss -ltn | grep -q :8443 && exit; sleep 0.1; done; exit 9")?
        .ok()?;

    repo.commit(
        "Print what the app reaches",
        &[("items/views.py", include_str!("inside/reach.py"))],
    )?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    let uid = web.run("id -u gunicorn")?.ok()?.stdout;
    let output = reached(web, &["database", "peer", "https"])?;
    ensure!(
        output[..2] == ["database: sqlite 1", &format!("peer: uid {}", uid.trim())],
        "{output:#?}"
    );
    // A certificate of an unknown CA is refused; after adding the CA, it is accepted.
    ensure!(
        output[2].contains("CERTIFICATE_VERIFY_FAILED"),
        "{output:#?}"
    );
    web.write(
        "/usr/local/share/ca-certificates/tests.crt",
        &host.read("/root/ca.pem")?,
    )?;
    web.run("update-ca-certificates")?.ok()?;
    let output = reached(web, &["https"])?;
    ensure!(output == ["https: hello over TLS"], "{output:#?}");

    // Peer authentication maps the account to its role, and to no other.
    web.run("runuser -u postgres -- createuser gunicorn && runuser -u postgres -- createdb --owner gunicorn todo")?
        .ok()?;
    let settings = include_str!("project/todo/settings.py");
    repo.commit(
        "Use PostgreSQL",
        &[("todo/settings.py", &format!("{settings}{POSTGRESQL}"))],
    )?;
    repo.push("version two")?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    let output = reached(web, &["database", "role", "other_role"])?;
    ensure!(
        output[..2] == ["database: postgresql 1", "role: ('gunicorn', None)"],
        "{output:#?}"
    );
    ensure!(
        output[2].contains("Peer authentication failed for user \"postgres\""),
        "{output:#?}"
    );
    web.run("pullpray doctor todo --offline")?.ok()?;
    ensure!(web.page("/")?.shows("version two"));
    Ok(())
}
