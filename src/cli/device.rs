//! `eir device`: what turns one of many equal machines into this one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde::Serialize;

use super::{Exit, Failure, print};
use crate::app::config::Sources;
use crate::disk;
use crate::event::Name;

/// A configuration to start from, where there is none.
const SAMPLE: &str = include_str!("../../cross/packages/eir.toml");

/// No password or key is longer, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// The user that the packages run the service as.
const USER: &str = "eir";

#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    /// Give this device its name, its broker and its keys; run again, it writes anew what is given then
    Init(InitArgs),
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The broker: `mqtt://host[:1883]` or `mqtts://host[:8883]`
    #[arg(long, value_name = "URL")]
    broker: String,
    /// Which `[mqtt.NAME]` of the configuration that is
    #[arg(long, value_name = "NAME", default_value = "local")]
    connection: Name,
    /// The device's name in topics and records; by default made from the machine's id
    #[arg(long, value_name = "NAME")]
    id: Option<Name>,
    /// A word for rules and rollouts, e.g. `site=lyon`; may be given many times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// User name at the broker
    #[arg(long, value_name = "NAME", requires = "password_file")]
    username: Option<String>,
    /// File with the password, `-` for standard input; it is copied to where only the service reads it
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// Certificates of the authorities to trust (PEM); the system's when not given
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Make a key and a request for a certificate, with which this device shows who it is
    #[arg(long)]
    client_certificate: bool,
    /// Where the configuration lies
    #[arg(long, value_name = "DIR", default_value = "/etc/eir")]
    directory: PathBuf,
}

fn label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = parts.ok_or("write it as KEY=VALUE, e.g. site=lyon")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What is written: a layer over the configuration.
#[derive(Debug, Serialize)]
struct Layer {
    device: Device,
    mqtt: BTreeMap<Name, Broker>,
}

#[derive(Debug, Serialize)]
struct Device {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Name>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Serialize)]
struct Broker {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
}

pub(super) fn device(command: &DeviceCommand) -> Result<(), Failure> {
    let DeviceCommand::Init(args) = command;
    // Everything is looked at before anything is written.
    let directory = std::path::absolute(&args.directory).context("--directory")?;
    let password = args.password_file.as_deref().map(read_password).transpose()?;
    let ca = args.ca_file.as_deref().map(std::path::absolute).transpose().context("--ca-file")?;
    let keys = directory.join("keys");
    let key = args.client_certificate.then(|| keys.join("device.key"));
    let broker = Broker {
        url: args.broker.clone(),
        username: args.username.clone(),
        password_file: password
            .is_some()
            .then(|| keys.join(format!("{}.password", args.connection))),
        ca_file: ca,
        cert_file: key.is_some().then(|| keys.join("device.crt")),
        key_file: key.clone(),
    };
    let password_file = broker.password_file.clone();
    let layer = Layer {
        device: Device { id: args.id.clone(), labels: args.labels.iter().cloned().collect() },
        mqtt: BTreeMap::from([(args.connection.clone(), broker)]),
    };
    let text = toml::to_string(&layer).context("failed to write the layer")?;
    let text = format!("# Written by `eir device init`; run it again to change it.\n{text}");
    let (file, written) = (directory.join("eir.toml"), directory.join("conf.d/50-device.toml"));
    let id = checked(&file, &written, &text)?;

    let mut report = Report::default();
    create(&directory, 0o755)?;
    create(&directory.join("conf.d"), 0o755)?;
    if !file.exists() {
        report.put(&file, SAMPLE.as_bytes(), 0o644)?;
    }
    if password.is_some() || key.is_some() {
        create(&keys, 0o700)?;
    }
    if let (Some(path), Some(password)) = (&password_file, &password) {
        report.put(path, password, 0o600)?;
    }
    if let Some(path) = &key {
        report.keys(path, &id)?;
    }
    report.put(&written, text.as_bytes(), 0o644)?;
    report.say_next(&file, key.as_deref())
}

/// Loads the configuration as it will be; the device's name in it.
fn checked(file: &Path, written: &Path, text: &str) -> Result<Name, Failure> {
    let sample = || (file.display().to_string(), SAMPLE.to_owned());
    let sources = Sources {
        file: file.to_owned(),
        text: (!file.exists()).then(sample),
        over: Some((written.to_owned(), text.to_owned())),
        ..Sources::default()
    };
    let config = super::run::load(&sources)?;
    Ok(config.device.resolve().id)
}

fn read_password(path: &Path) -> Result<Vec<u8>, Failure> {
    let read =
        if path == Path::new("-") { read_stdin() } else { disk::read_bounded(path, MAX_SECRET) };
    read.with_context(|| format!("--password-file {}", path.display()))
        .map_err(|error| Failure::new(Exit::NoInput, error))
}

/// What is too long is refused: cut, it would be another password.
fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = io::stdin().take(MAX_SECRET + 1).read_to_end(&mut bytes)?;
    if length as u64 > MAX_SECRET {
        return Err(io::Error::other(format!("it has more than {MAX_SECRET} bytes")));
    }
    Ok(bytes)
}

/// Makes a directory that is not there.
fn create(directory: &Path, mode: u32) -> anyhow::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    admit(directory, mode)
}

/// Gives a file or directory the permissions it is meant to have, whatever the umask, and what is for
/// the service alone to the service.
fn admit(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| path.display().to_string())?;
    if matches!(mode, 0o600 | 0o700) {
        give_to_service(path);
    }
    Ok(())
}

/// Secrets belong to who runs the service; where that is nobody else, nothing changes.
fn give_to_service(path: &Path) {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let service = fields.into_iter().find(|fields| fields.first() == Some(&USER));
    if let Some([_, _, user, group, ..]) = service.as_deref()
        && let (Ok(user), Ok(group)) = (user.parse(), group.parse())
    {
        // Only root may; anybody else set this up for themselves.
        let _not_root = chown(path, Some(user), Some(group));
    }
}

/// What was done, for the person who asked for it.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
}

impl Report {
    /// Writes a file, unless it holds the same already.
    fn put(&mut self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
        let same = fs::read(path).is_ok_and(|before| before == bytes);
        if !same {
            disk::replace_with_mode(path, bytes, mode)
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
        admit(path, mode)?;
        self.lines.push(format!(
            "{} {}",
            if same { "unchanged" } else { "written  " },
            path.display()
        ));
        Ok(())
    }

    /// A key is made once and never replaced: the certificate that was signed for it would be worth
    /// nothing. The request carries the device's name.
    fn keys(&mut self, path: &Path, id: &Name) -> Result<(), Failure> {
        let key = match disk::read_bounded(path, MAX_SECRET) {
            Ok(pem) => KeyPair::from_pem(&String::from_utf8_lossy(&pem))
                .with_context(|| format!("{} holds no private key", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                KeyPair::generate().context("failed to make a key")?
            }
            Err(error) => {
                let error = anyhow::Error::new(error).context(path.display().to_string());
                return Err(Failure::new(Exit::NoInput, error));
            }
        };
        self.put(path, key.serialize_pem().as_bytes(), 0o600)?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, id.as_str());
        let request = params.serialize_request(&key).context("failed to make a request")?;
        let request = request.pem().context("failed to write the request")?;
        let request_file = path.with_extension("csr");
        // Its signature is another one each time; the old request is as good.
        if !request_file.exists() {
            self.put(&request_file, request.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    fn say_next(&self, file: &Path, key: Option<&Path>) -> Result<(), Failure> {
        for line in &self.lines {
            print::line(format_args!("{line}"))?;
        }
        print::line(format_args!("next:"))?;
        if let Some(key) = key.filter(|key| !key.with_extension("crt").exists()) {
            let (request, signed) = (key.with_extension("csr"), key.with_extension("crt"));
            print::line(format_args!(
                "  have {} signed by your authority, and put the certificate at {}",
                request.display(),
                signed.display()
            ))?;
        }
        print::line(format_args!("  eir check --config {}", file.display()))?;
        print::line(format_args!("  systemctl restart eir"))
    }
}
