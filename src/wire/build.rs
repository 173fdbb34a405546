//! Derives the build id from everything that decides what the frames mean.
use std::{
    env, fs,
    hash::{DefaultHasher, Hasher},
    io,
    path::{Path, PathBuf},
};

fn files(dir: &Path, out: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, out)?;
        } else {
            out.push(path);
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let mut list = Vec::new();
    for dir in ["src", "../pure/addr/src", "../pure/index/src"] {
        println!("cargo::rerun-if-changed={dir}");
        files(Path::new(dir), &mut list)?;
    }
    let lock = Path::new("../../Cargo.lock");
    if lock.exists() {
        println!("cargo::rerun-if-changed={}", lock.display());
        list.push(lock.to_owned());
    }
    list.sort();
    let mut hashers = [DefaultHasher::new(), DefaultHasher::new()];
    hashers[1].write_u8(1);
    for path in list {
        let bytes = fs::read(&path)?;
        for h in &mut hashers {
            h.write(path.to_string_lossy().as_bytes());
            h.write_usize(bytes.len());
            h.write(&bytes);
        }
    }
    println!("cargo::rerun-if-env-changed=POSTERN_BUILD_ID");
    let id = env::var("POSTERN_BUILD_ID").unwrap_or_else(|_| format!("{:016x}{:016x}", hashers[0].finish(), hashers[1].finish()));
    println!("cargo::rustc-env=POSTERN_BUILD_ID={id}");
    Ok(())
}
