//! pure-config
