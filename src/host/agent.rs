//! ssh-agent, spoken to directly: which keys it holds, and handing it the deploy key.
//!
//! Handing over is the one moment when the private key leaves root. `ssh-add` would give it to
//! whoever answers on the socket's path, and until the agent has bound its socket that path lies in
//! a directory of the deploy user: it puts a socket of its own there and root hands it the key
//! (measured). So the key is handed over here, on a connection whose other end is proven to be
//! the unit's own main process, and in a directory that has been taken away from the user.
//!
//! A second way in would be to trace the agent: same user, same rights. OpenSSH makes itself
//! untraceable, but only some instructions after its start. Debian installs ssh-agent setgid
//! (`_ssh`), and that closes the gap: the kernel makes a process untraceable when it gains a group
//! by exec, and systemd's child is so already since it changed its user (prctl(2),
//! PR_SET_DUMPABLE; ptrace(2), "Ptrace access mode checking"). ssh-agent drops the group again, so
//! what can be checked is that nothing took the setgid away: no_new_privs is off and the file
//! system is not mounted nosuid; and that nobody traces now.
//!
//! The protocol is draft-ietf-sshm-ssh-agent: a length, a type, strings with lengths.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use ssh_key::{HashAlg, PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::{Account, Server, View};

const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const ADD_IDENTITY: u8 = 17;

/// A key that an agent holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentKey {
    /// `SHA256:…`.
    pub fingerprint: String,
    /// Its public half as OpenSSH writes it, without the comment.
    pub public: String,
    /// Its comment.
    pub comment: String,
}

impl View {
    /// The keys that the agent behind a socket holds.
    ///
    /// # Errors
    /// When nobody listens, the agent does not serve this user, or does not speak the protocol.
    pub fn agent_keys(&self, socket: &Path) -> Result<Vec<AgentKey>> {
        let mut agent = connect(&self.real(socket))?;
        parse_keys(&exchange(&mut agent, &[REQUEST_IDENTITIES])?)
    }
}

/// Hands private keys to the main process of the agent's unit; run by the unit, as root, right
/// after the agent was started.
///
/// # Errors
/// When the other end of the socket is not proven to be that process; then nothing was handed
/// over.
pub fn hand_over_key(
    server: &Server,
    unit: &str,
    socket: &Path,
    key_files: &[PathBuf],
    user: &Account,
) -> Result<()> {
    let dir = socket
        .parent()
        .ok_or_else(|| anyhow!("{} has no directory", socket.display()))?;
    let deadline = Instant::now() + Duration::from_secs(10);
    let main_pid = loop {
        let state = server.unit(unit)?;
        if state.main_pid != 0 && server.stat(socket)?.is_some() {
            break state.main_pid;
        }
        if matches!(
            state.active.as_str(),
            "failed" | "inactive" | "deactivating"
        ) {
            bail!("{unit} ended before it could be given its key");
        }
        if Instant::now() > deadline {
            bail!("{unit} made no socket at {} within 10 s", socket.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    // From here on the user cannot put anything else in the socket's place. What was put there
    // before is found out below.
    server.make_dir(dir, 0, user.gid, 0o755)?;
    let mut agent = loop {
        match connect(socket) {
            Ok(agent) => break agent,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let peer = getsockopt(&agent, PeerCredentials)
        .context("failed to ask who is at the other end of the agent's socket")?;
    if u32::try_from(peer.pid()).ok() != Some(main_pid) || peer.uid() != user.uid {
        bail!(
            "{} is answered by process {} of uid {}, not by the agent (process {main_pid} of {}); the key was not handed over",
            socket.display(),
            peer.pid(),
            peer.uid(),
            user.name,
        );
    }
    require_untraceable(server, main_pid)?;
    for key_file in key_files {
        let text = Zeroizing::new(
            server
                .read(key_file)?
                .ok_or_else(|| anyhow!("{} is missing", key_file.display()))?,
        );
        let key = PrivateKey::from_openssh(text.as_slice())
            .with_context(|| format!("{} is not a private key", key_file.display()))?;
        let answer = exchange(&mut agent, &add_identity(&key)?)?;
        if answer.first() != Some(&SUCCESS) {
            bail!("the agent refused the key");
        }
    }
    Ok(())
}

fn require_untraceable(server: &Server, pid: u32) -> Result<()> {
    let proc = Path::new("/proc").join(pid.to_string());
    let program = server
        .read_link(&proc.join("exe"))?
        .ok_or_else(|| anyhow!("the agent ended"))?;
    let expected = server
        .which("ssh-agent")
        .and_then(|path| std::fs::canonicalize(path).ok());
    if expected.as_deref() != Some(&program) {
        bail!(
            "process {pid} runs {}, not ssh-agent; the key was not handed over",
            program.display()
        );
    }
    let status = server.read_text(&proc.join("status"))?.unwrap_or_default();
    let numbers = |name: &str| -> Vec<u32> {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|rest| {
                rest.split_whitespace()
                    .filter_map(|n| n.parse().ok())
                    .collect()
            })
            .unwrap_or_default()
    };
    if numbers("TracerPid:") != [0] {
        bail!("process {pid} is being traced; the key was not handed over");
    }
    let setgid = server
        .stat(&program)?
        .is_some_and(|stat| stat.mode & 0o2000 != 0);
    if setgid && (numbers("NoNewPrivs:") != [0] || server.ignores_setgid(&program)?) {
        bail!(
            "ssh-agent was started without its own group, so process {pid} could have been traced; the key was not handed over\nhint: does a drop-in set NoNewPrivileges or a system call filter? systemctl cat ssh-agent.\\*"
        );
    }
    // What cannot be traced has a /proc that is root's (proc_pid(5)).
    if server
        .stat(&proc.join("mem"))?
        .is_some_and(|stat| stat.uid != 0)
    {
        bail!("process {pid} can be traced by its user; the key was not handed over");
    }
    Ok(())
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket)
        .with_context(|| format!("failed to reach the agent at {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

fn exchange(agent: &mut UnixStream, message: &[u8]) -> Result<Vec<u8>> {
    let failed = "failed to speak with the agent";
    let mut framed = Zeroizing::new(Vec::with_capacity(message.len() + 4));
    framed.extend(u32::try_from(message.len())?.to_be_bytes());
    framed.extend(message);
    agent.write_all(&framed).context(failed)?;
    let mut length = [0; 4];
    agent.read_exact(&mut length).context(failed)?;
    let length = u32::from_be_bytes(length) as usize;
    // OpenSSH's own limit for a message (AGENT_MAX_LEN, ssh-agent.c).
    if length == 0 || length > 256 * 1024 {
        bail!("{failed}: an answer of {length} bytes");
    }
    let mut answer = vec![0; length];
    agent.read_exact(&mut answer).context(failed)?;
    Ok(answer)
}

fn put(message: &mut Vec<u8>, bytes: &[u8]) {
    // Keys and comments are far below 4 GiB.
    message.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(bytes);
}

fn add_identity(key: &PrivateKey) -> Result<Zeroizing<Vec<u8>>> {
    let pair = key
        .key_data()
        .ed25519()
        .ok_or_else(|| anyhow!("the deploy key is not an ed25519 key"))?;
    // Room for all of it at once: a buffer that grew would leave copies behind.
    let mut message = Zeroizing::new(Vec::with_capacity(512 + key.comment().len()));
    message.push(ADD_IDENTITY);
    put(&mut message, b"ssh-ed25519");
    put(&mut message, pair.public.as_ref());
    put(&mut message, &*Zeroizing::new(pair.to_bytes()));
    put(&mut message, key.comment().as_bytes());
    Ok(message)
}

fn parse_keys(answer: &[u8]) -> Result<Vec<AgentKey>> {
    let broken = || anyhow!("the agent's answer cannot be read");
    match answer.first() {
        Some(&IDENTITIES_ANSWER) => {}
        Some(&FAILURE) => bail!("the agent refuses to list its keys"),
        _ => return Err(broken()),
    }
    let mut rest = &answer[1..];
    let mut take = |count: usize| -> Result<&[u8]> {
        let (taken, left) = rest.split_at_checked(count).ok_or_else(broken)?;
        rest = left;
        Ok(taken)
    };
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_usize, |n, b| (n << 8) | usize::from(*b))
    };
    let count = number(take(4)?);
    let mut keys = Vec::new();
    for _ in 0..count {
        let length = number(take(4)?);
        let blob = take(length)?;
        let public = PublicKey::from_bytes(blob).map_err(|_| broken())?;
        let length = number(take(4)?);
        let comment = String::from_utf8_lossy(take(length)?).into_owned();
        keys.push(AgentKey {
            fingerprint: public.fingerprint(HashAlg::Sha256).to_string(),
            public: public.to_openssh().map_err(|_| broken())?,
            comment,
        });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_nonsense_is_refused() -> Result<()> {
        assert_eq!(parse_keys(&[IDENTITIES_ANSWER, 0, 0, 0, 0])?, []);
        for bad in [
            &[][..],
            &[FAILURE],
            &[SUCCESS],
            &[IDENTITIES_ANSWER],
            &[IDENTITIES_ANSWER, 0, 0, 0, 1],
            &[IDENTITIES_ANSWER, 0, 0, 0, 1, 255, 255, 255, 255],
        ] {
            assert!(parse_keys(bad).is_err(), "{bad:?}");
        }
        Ok(())
    }

    #[test]
    fn a_real_agent_takes_the_key() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("s");
        #[expect(clippy::disallowed_methods, reason = "a test of its own program")]
        let mut agent = std::process::Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdout(std::process::Stdio::null())
            .spawn()?;
        let result = (|| -> Result<()> {
            for _ in 0..100 {
                if socket.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let mut key =
                PrivateKey::random(&mut ssh_key::rand_core::OsRng, ssh_key::Algorithm::Ed25519)?;
            key.set_comment("pullpray todo@web");
            let mut stream = connect(&socket)?;
            let peer = getsockopt(&stream, PeerCredentials)?;
            assert_eq!(
                u32::try_from(peer.pid())?,
                agent.id(),
                "with -D the agent is its own listener"
            );
            assert_eq!(exchange(&mut stream, &add_identity(&key)?)?, [SUCCESS]);
            let held = Server::real().agent_keys(&socket)?;
            assert_eq!(
                held,
                [AgentKey {
                    fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
                    public: PublicKey::from(key.public_key().key_data().clone()).to_openssh()?,
                    comment: "pullpray todo@web".into()
                }]
            );
            Ok(())
        })();
        agent.kill()?;
        agent.wait()?;
        result
    }
}
