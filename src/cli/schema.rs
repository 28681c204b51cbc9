//! `eir schema`: the reference of the file formats.

use clap::Subcommand;

use super::{Exit, Failure, print};

#[derive(Debug, Subcommand)]
pub(super) enum SchemaCommand {
    /// The JSON Schema of the configuration
    Config,
}

pub(super) fn schema(command: &SchemaCommand) -> Result<(), Failure> {
    let schema = match command {
        SchemaCommand::Config => crate::app::config::schema(),
    };
    let text =
        serde_json::to_string_pretty(&schema).map_err(|e| Failure::new(Exit::Internal, e))?;
    print::line(text)
}
