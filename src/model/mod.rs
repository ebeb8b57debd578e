//! The nouns that all stages share: names that cannot hold bad values, the configuration, runs and their states.

pub mod config;
pub mod names;
pub mod nonce;
pub mod packed;
pub mod percent;
pub mod run;
pub mod shell;
pub mod slurm;
pub mod tree;
pub mod value;
