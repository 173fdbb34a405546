//! Finds the Nix files of the project; what is checked of them is in `tests/`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The root of the source tree.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Every `.nix` file of the project.
pub fn files() -> io::Result<Vec<PathBuf>> {
    let root = workspace();
    let mut found = vec![root.join("flake.nix")];
    for directory in [root.join("nix"), root.join("nix/tests")] {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "nix") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
