//! `eir device`: what turns one of many equal machines into this one.

mod layer;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use rcgen::{CertificateParams, DnType, KeyPair};

use self::layer::{Broker, Cloud, Device, Layer};
use super::{Exit, Failure, print};
use crate::app::config::Sources;
use crate::disk;
use crate::event::Name;

/// A configuration to start from, where there is none.
const SAMPLE: &str = include_str!("../../cross/packages/eir.toml");

/// No password or key is longer, in bytes.
const MAX_SECRET: u64 = 64 << 10;

/// No layer is longer, in bytes.
const MAX_LAYER: u64 = 1 << 20;

/// The user that the packages run the service as.
const USER: &str = "eir";

#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    /// Give this device its name, its broker, its cloud and its keys; run again, it writes anew what is
    /// given then
    Init(InitArgs),
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The broker: `mqtt://host[:1883]` or `mqtts://host[:8883]`
    #[arg(long, value_name = "URL", required_unless_present = "cloud")]
    broker: Option<String>,
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
    #[arg(long, value_name = "NAME", requires = "password_file", requires = "broker")]
    username: Option<String>,
    /// File with the password, `-` for standard input; it is copied to where only the service reads it
    #[arg(long, value_name = "FILE", requires = "username")]
    password_file: Option<PathBuf>,
    /// Certificates of the authorities to trust (PEM); the system's when not given
    #[arg(long, value_name = "FILE", requires = "broker")]
    ca_file: Option<PathBuf>,
    /// Make a key and a request for a certificate, with which this device shows who it is
    #[arg(long, requires = "broker")]
    client_certificate: bool,
    /// The cloud that records are sent to: `https://host[:443]/path`
    #[arg(long, value_name = "URL")]
    cloud: Option<String>,
    /// Which `[cloud.NAME]` of the configuration that is
    #[arg(long, value_name = "NAME", default_value = "main", requires = "cloud")]
    cloud_name: Name,
    /// File with the cloud's bearer token, `-` for standard input; it is copied to where only the service
    /// reads it
    #[arg(long, value_name = "FILE", requires = "cloud")]
    cloud_token_file: Option<PathBuf>,
    /// Certificates of the authorities to trust at the cloud (PEM); the system's when not given
    #[arg(long, value_name = "FILE", requires = "cloud")]
    cloud_ca_file: Option<PathBuf>,
    /// Where the configuration lies
    #[arg(long, value_name = "DIR", default_value = "/etc/eir")]
    directory: PathBuf,
}

fn label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = parts.ok_or("write it as KEY=VALUE, e.g. site=lyon")?;
    Ok((key.to_owned(), value.to_owned()))
}

pub(super) fn device(command: &DeviceCommand) -> Result<(), Failure> {
    let DeviceCommand::Init(args) = command;
    // Everything is looked at before anything is written.
    let directory = std::path::absolute(&args.directory).context("--directory")?;
    let secrets = args.secrets()?;
    let keys = directory.join("keys");
    let key = args.client_certificate.then(|| keys.join("device.key"));
    let (file, written) = (directory.join("eir.toml"), directory.join("conf.d/50-device.toml"));
    let text = args.layer(&keys)?.over(&read_layer(&written)?);
    let text = text.with_context(|| written.display().to_string());
    let text = text.map_err(|error| Failure::new(Exit::Config, error))?;
    let id = checked(&file, &written, &text)?;

    let mut report = Report::default();
    create(&directory, 0o755)?;
    create(&directory.join("conf.d"), 0o755)?;
    if !file.exists() {
        report.put(&file, SAMPLE.as_bytes(), 0o644)?;
    }
    if !secrets.is_empty() || key.is_some() {
        create(&keys, 0o700)?;
    }
    for (name, secret) in &secrets {
        report.put(&keys.join(name), secret, 0o600)?;
    }
    if let Some(path) = &key {
        report.keys(path, &id)?;
    }
    report.put(&written, text.as_bytes(), 0o644)?;
    report.say_next(&file, key.as_deref())
}

impl InitArgs {
    /// Passwords and tokens as they were given, and the names of the files that they are copied to.
    fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let given = [
            ("--password-file", &self.password_file, self.password_name()),
            ("--cloud-token-file", &self.cloud_token_file, self.token_name()),
        ];
        let stdin = given.iter().filter(|(_, path, _)| path.as_deref() == Some("-".as_ref()));
        if stdin.count() > 1 {
            let error = anyhow::anyhow!(
                "--password-file - and --cloud-token-file - both read standard input; give one of \
                 them a file"
            );
            return Err(Failure::new(Exit::Usage, error));
        }
        let given =
            given.into_iter().filter_map(|(flag, path, name)| Some((flag, path.as_ref()?, name)));
        given.map(|(flag, path, name)| Ok((name, read_secret(flag, path)?))).collect()
    }

    fn password_name(&self) -> String {
        format!("{}.password", self.connection)
    }

    fn token_name(&self) -> String {
        format!("{}.token", self.cloud_name)
    }

    /// What is given, with the secrets where they will be.
    fn layer(&self, keys: &Path) -> anyhow::Result<Layer> {
        let absolute = |path: &Option<PathBuf>, flag: &'static str| {
            path.as_deref().map(std::path::absolute).transpose().context(flag)
        };
        let ca_file = absolute(&self.ca_file, "--ca-file")?;
        let broker = self.broker.as_ref().map(|url| Broker {
            url: url.clone(),
            username: self.username.clone(),
            password_file: self.password_file.as_ref().map(|_| keys.join(self.password_name())),
            ca_file,
            cert_file: self.client_certificate.then(|| keys.join("device.crt")),
            key_file: self.client_certificate.then(|| keys.join("device.key")),
        });
        let ca_file = absolute(&self.cloud_ca_file, "--cloud-ca-file")?;
        let cloud = self.cloud.as_ref().map(|url| Cloud {
            url: url.clone(),
            token_file: self.cloud_token_file.as_ref().map(|_| keys.join(self.token_name())),
            ca_file,
        });
        Ok(Layer {
            device: Device { id: self.id.clone(), labels: self.labels.iter().cloned().collect() },
            mqtt: broker.map(|broker| (self.connection.clone(), broker)).into_iter().collect(),
            cloud: cloud.map(|cloud| (self.cloud_name.clone(), cloud)).into_iter().collect(),
        })
    }
}

/// The layer that is there; none is an empty one.
fn read_layer(path: &Path) -> Result<String, Failure> {
    let read = match disk::read_bounded(path, MAX_LAYER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        read => read.with_context(|| path.display().to_string()),
    };
    let bytes = read.map_err(|error| Failure::new(Exit::NoInput, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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

fn read_secret(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let read =
        if path == Path::new("-") { read_stdin() } else { disk::read_bounded(path, MAX_SECRET) };
    read.with_context(|| format!("{flag} {}", path.display()))
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
