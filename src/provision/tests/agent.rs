//! An agent that always holds the key whose public half is on the disk.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use ssh_key::PublicKey;

use crate::app::App;
use crate::host::testing::TestServer;
use crate::layout;

/// Answers until it is dropped.
pub(super) struct Agent {
    socket: PathBuf,
    ended: Arc<AtomicBool>,
}

impl Agent {
    pub(super) fn serve(server: &TestServer, app: &App) -> Result<Self> {
        let socket = server.real(layout::agent_socket(&app.name));
        fs::create_dir_all(socket.parent().context("no parent")?)?;
        let listener = UnixListener::bind(&socket)?;
        let public = server.real(layout::public_key(&app.name));
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        std::thread::spawn(move || {
            let streams = listener.incoming().flatten();
            for stream in streams.take_while(|_| !end.load(Ordering::Relaxed)) {
                drop(answer(stream, &public));
            }
        });
        Ok(Self { socket, ended })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // It waits for a connection.
        drop(UnixStream::connect(&self.socket));
    }
}

/// One request to the agent: the list of its keys.
fn answer(mut stream: UnixStream, public: &Path) -> Result<()> {
    let mut request = [0; 5];
    stream.read_exact(&mut request)?;
    let mut body = vec![12];
    match fs::read_to_string(public) {
        Err(_) => body.extend(0_u32.to_be_bytes()),
        Ok(text) => {
            let key = PublicKey::from_openssh(text.trim()).map_err(anyhow::Error::msg)?;
            let blob = key.to_bytes().map_err(anyhow::Error::msg)?;
            body.extend(1_u32.to_be_bytes());
            for part in [blob.as_slice(), b"pullpray"] {
                body.extend(u32::try_from(part.len())?.to_be_bytes());
                body.extend(part);
            }
        }
    }
    stream.write_all(&u32::try_from(body.len())?.to_be_bytes())?;
    Ok(stream.write_all(&body)?)
}
