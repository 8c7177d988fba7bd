//! The scripts of `config/argocd`, run by Argo CD's Lua evaluator, and kstatus on the same objects: both are Go modules, and
//! so the tests are in `tests/argocd`.

use std::process::Command;

#[test]
fn health_actions_and_kstatus_agree_with_the_real_evaluators() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/argocd");
    let output = Command::new("go").args(["test", "-count=1", "./..."]).current_dir(folder).output();
    let output = output.expect("go should be installed, see CONTRIBUTING.md");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}
