//! exposed-tls
