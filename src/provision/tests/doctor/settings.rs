//! The settings file, which may have secrets.

use super::*;

#[test]
fn settings_may_be_edited_as_long_as_they_say_the_same() -> Result<()> {
    let world = world()?;
    let path = world.server.real(layout::settings(&world.app.name));
    let ours = fs::read_to_string(&path)?;
    fs::write(&path, format!("# mine\n{ours}"))?;
    let owner = format!("0640 root:{}", world.app.group);
    expect(&world, StepId::AppSettings, "ok", &owner)?;
    chmod(&path, 0o600)?;
    let finding = expect(
        &world,
        StepId::AppSettings,
        "differs",
        &format!("should be {owner}"),
    )?;
    assert!(matches!(finding, Finding::Differs { diff: None, .. }));
    world.fix(StepId::AppSettings)?;
    assert!(fs::read_to_string(&path)?.starts_with("# mine\n"));
    fs::write(&path, ours.replace("keep = ", "keep = 1"))?;
    let finding = expect(
        &world,
        StepId::AppSettings,
        "differs",
        "differs from your answers",
    )?;
    assert!(matches!(finding, Finding::Differs { diff: Some(_), .. }));
    // Addresses in it are secrets.
    fs::write(
        &path,
        ours.replace(
            "notify = []",
            "notify = [\"https://chat.example.org/s3cret\"]",
        ),
    )?;
    let Finding::Differs {
        diff: Some(diff), ..
    } = world.find(StepId::AppSettings)?
    else {
        anyhow::bail!("no difference was found");
    };
    assert!(
        diff.contains("-notify = [\"https://chat.example.org/…\"]"),
        "{diff}"
    );
    world.fix(StepId::AppSettings)?;
    assert_eq!(fs::read_to_string(&path)?, ours);
    let copy = fs::read_to_string(world.server.real(layout::settings_copy(&world.app.name)))?;
    assert_eq!(copy, ours);
    Ok(())
}
