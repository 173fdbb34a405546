//! postern-auth: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    jail::main(&postern_auth::PROFILE, postern_auth::start)
}
