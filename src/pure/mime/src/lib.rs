//! pure-mime
