//! Package, module and virtual machines evaluate against a nixpkgs that `$NIXPKGS` names.

use nix_files::workspace;
use std::{env, process::Command};
use test_support::{need, skip};

#[test]
fn package_module_and_machines_evaluate() {
    if env::var_os("NIXPKGS").is_none() {
        return skip("$NIXPKGS does not name a nixpkgs; nothing was evaluated, only parsed");
    }
    let Some(nix) = need("nix-instantiate") else { return };
    let output = Command::new(nix).args(["--eval", "--strict", "nix/tests"]).current_dir(workspace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    for check in ["module", "package", "vm-basic"] {
        assert!(text.contains(&format!("{check} = \"/")), "{text}");
    }
}
