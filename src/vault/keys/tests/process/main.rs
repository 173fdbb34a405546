//! The real process inside its jail: started as PID 1 would, under Landlock and seccomp.

#![cfg(test)]

mod dkimpy;
mod reload;
mod signatures;
mod world;
