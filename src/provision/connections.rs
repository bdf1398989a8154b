//! How many connections can wait, and how many nginx can have: where they run out, requests fail under load although
//! the app is healthy.

use std::path::Path;

use anyhow::Result;

use crate::app::App;
use crate::host::View;

use super::{About, Check, CheckContext, Finding, StepId};

pub(super) struct Connections<'a>(pub(super) &'a App);

/// Linux's default since 5.4 is 4096; the limit before it, 128, is full after a second of some traffic.
const FEW_WAITING: u32 = 1024;
/// Debian's nginx has 768. Each request through it takes two, one of them to the app.
const FEW_OF_NGINX: u32 = 512;

/// The value of nginx's `worker_connections` (ngx_core_module), without comments.
fn worker_connections(text: &str) -> Option<u32> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    let code: String = lines.flat_map(|line| [line, "\n"]).collect();
    let (_, rest) = code.split_once("worker_connections")?;
    rest.split(';').next()?.trim().parse().ok()
}

fn number(view: &View, path: &str) -> Result<Option<u32>> {
    let text = view.read_text(Path::new(path))?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

impl Check for Connections<'_> {
    fn about(&self) -> About {
        About::new(StepId::ServerConnections, &self.0.bind)
    }
    fn check(&self, context: &CheckContext<'_>) -> Result<Finding> {
        let view = context.view;
        let Some(waiting) = number(view, "/proc/sys/net/core/somaxconn")? else {
            return Ok(Finding::Unknown(
                "the kernel does not say how many can wait".to_owned(),
            ));
        };
        if waiting < FEW_WAITING {
            return Ok(Finding::warning(
                format!("only {waiting} connections can wait for the app (net.core.somaxconn)"),
                "echo net.core.somaxconn=4096 | sudo tee /etc/sysctl.d/60-somaxconn.conf && sudo sysctl --system  # then restart the socket",
            ));
        }
        let nginx = view.read_text(Path::new("/etc/nginx/nginx.conf"))?;
        Ok(match nginx.as_deref().and_then(worker_connections) {
            Some(few) if few < FEW_OF_NGINX => Finding::warning(
                format!(
                    "each worker of nginx has only {few} connections, and a request takes two (worker_connections)"
                ),
                "sudoedit /etc/nginx/nginx.conf && sudo nginx -t && sudo systemctl reload nginx",
            ),
            Some(most) => Finding::Ok(format!(
                "{waiting} can wait; each worker of nginx has {most}"
            )),
            None => Finding::Ok(format!("{waiting} can wait")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::worker_connections;

    #[test]
    fn comments_of_nginx_do_not_count() {
        let text = "worker_processes auto;\nevents {\n\t# worker_connections 5;\n\tworker_connections 768;\n}\n";
        assert_eq!(worker_connections(text), Some(768));
        for none in ["", "events { }", "worker_connections many;"] {
            assert_eq!(worker_connections(none), None);
        }
    }
}
