//! `eir token`: who may ask the device over HTTP and gRPC.

use clap::{Subcommand, ValueEnum};

use super::{Failure, print};
use crate::api::{Role, new_token};
use crate::event::Name;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token; it is shown once, and what is to be written into the configuration is not secret
    New {
        /// Who will have it
        #[arg(value_name = "NAME")]
        name: Name,
        /// What it is good for
        #[arg(long, value_enum, default_value = "read")]
        role: RoleWord,
    },
}

/// A role, as it is written on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RoleWord {
    /// Health, metrics, what the device sees
    Read,
    /// And what its models make of an input
    Infer,
    /// And loading models, reading the configuration again
    Admin,
}

pub(super) fn token(command: &TokenCommand) -> Result<(), Failure> {
    let TokenCommand::New { name, role } = command;
    let role = match role {
        RoleWord::Read => Role::Read,
        RoleWord::Infer => Role::Infer,
        RoleWord::Admin => Role::Admin,
    };
    let (token, sha256) = new_token();
    print::line(format!(
        "The token, shown this once:\n\n{token}\n\n\
         For the configuration:\n\n\
         [api.auth.tokens.{name}]\nrole = \"{}\"\nsha256 = \"{sha256}\"",
        role.as_str()
    ))
}
