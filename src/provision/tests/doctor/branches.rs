//! A branch that the repository does not have.

use super::*;
use crate::provision::{CheckContext, other_branches};

#[test]
fn what_it_has_instead_is_named_and_can_be_chosen() -> Result<()> {
    let world = world()?;
    let has = |branches: &[&str]| -> Result<()> {
        let line = |text: String| format!("{:04x}{text}", text.len() + 4);
        let oid = "1234567890123456789012345678901234567890";
        let listed = branches
            .iter()
            .map(|name| line(format!("{oid} refs/heads/{name}\n")));
        let begin = [
            line("version 2\n".into()),
            line("ls-refs\n".into()),
            "0000".into(),
        ];
        let all: Vec<String> = begin
            .into_iter()
            .chain(listed)
            .chain(["0000".into()])
            .collect();
        world
            .server
            .put("/usr/share/other-refs", &all.concat(), 0o644)?;
        let refs = world.server.real(Path::new("/usr/share/other-refs"));
        let ssh = format!("cat {}; exec cat >/dev/null", refs.display());
        world.put_program("/usr/bin/ssh", &ssh)
    };
    for (branches, words) in [
        (&[][..], "has no branch main"),
        (&["a", "b"], "has no branch main, but a, b"),
        (
            &["a", "b", "c", "d", "e", "f", "g"],
            "but a, b, c, d, e and 2 more",
        ),
    ] {
        has(branches)?;
        let finding = world.find(StepId::RepoAccess)?;
        ensure!(finding.summary().ends_with(words), "{finding:?}");
        let receipt = world.receipt()?;
        let context = CheckContext {
            view: world.server.server.view(),
            receipt: &receipt,
            overwrite: false,
            offline: false,
        };
        assert_eq!(other_branches(&context, &world.app)?, branches);
        has(&["a", "main"])?;
        assert_eq!(other_branches(&context, &world.app)?, [""; 0]);
    }
    Ok(())
}
